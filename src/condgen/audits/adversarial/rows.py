"""The rows of an adversarial record: what an attack on one image found."""

import numpy as np
import torch
from torch import Tensor

from condgen.attacks import Attack, AttackResult, Goal
from condgen.attacks.goals import reached
from condgen.attacks.result import VANISHED
from condgen.audits.adversarial.scene import Scene
from condgen.audits.adversarial.shards import Arrays
from condgen.classifier import predict
from condgen.detectors import flagged, score
from condgen.randomness import stream

IMAGES = ("perturbed", "quantized")
SEEN = (  # for the perturbed image and for the quantized one
    "reached",
    "score",
    "predicted",
    "bits_per_dim",
    "misclassified",
    "flagged",
    "l2",
    "linf",
)
COLUMNS = (
    *(
        "attack",
        "detector_aware",
        "index",
        "label",
        "target",
        "seed",
        "bits_per_dim_before",
        "score_before",
    ),
    *SEEN,
    *(f"{name}_quantized" for name in SEEN),
    *(*IMAGES, "forward", "backward", "status"),
)


def attack_rows(
    scene: Scene, attack: Attack, name: str, aware: bool, rows: Tensor, number: int
) -> Arrays:
    """One shard: the results of an attack on some images, one row per image."""
    x, label, goal = scene.x[rows], scene.label[rows], scene.goal(aware)[rows]
    before = predict(scene.classifier, x)
    result = attack(
        scene.classifier,
        x,
        goal,
        generator=stream(scene.seed, "adversarial", name, int(aware), number),
    )
    target = torch.full_like(rows, -1) if scene.target is None else scene.target[rows]
    arrays = {
        "attack": np.array([name] * len(rows)),
        "detector_aware": np.full(len(rows), aware),
        "index": scene.index[rows.numpy()],
        "label": label.numpy(),
        "target": target.numpy(),
        "seed": np.full(len(rows), scene.seed),
        "bits_per_dim_before": before.bits_per_dim.numpy(),
        "score_before": score(scene.detector, before).numpy(),
        **_seen(scene, x, result.perturbed, label, result.reached, goal, ""),
        **_seen(scene, x, result.quantized, label, result.reached_quantized, goal, "_quantized"),
        **_spent(result),
    }
    vanished = result.reached.numpy() & ~arrays["reached"]
    return {**arrays, "status": np.where(vanished, VANISHED, arrays["status"])}


def _spent(result: AttackResult) -> Arrays:
    return {
        "perturbed": result.perturbed.numpy(),
        "quantized": result.quantized.numpy(),
        "forward": result.forward.numpy(),
        "backward": result.backward.numpy(),
        "status": np.array(result.status),
    }


def _seen(
    scene: Scene, x: Tensor, images: Tensor, label: Tensor, claimed: Tensor, goal: Goal, suffix: str
) -> Arrays:
    """Predictions and scores of each image, in batches of one.

    A success counts only if they confirm it.
    """
    prediction = predict(scene.classifier, images, batch=1)
    shift = (images - x).flatten(1)
    return {
        f"reached{suffix}": (claimed & reached(goal.margins(prediction))).numpy(),
        f"score{suffix}": score(scene.detector, prediction).numpy(),
        f"predicted{suffix}": prediction.label.numpy(),
        f"bits_per_dim{suffix}": prediction.bits_per_dim.numpy(),
        f"misclassified{suffix}": (prediction.label != label).numpy(),
        f"flagged{suffix}": flagged(scene.detector, prediction).numpy(),
        f"l2{suffix}": shift.norm(dim=1).numpy(),
        f"linf{suffix}": shift.abs().amax(1).numpy(),
    }
