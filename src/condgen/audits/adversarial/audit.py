"""Attack test images with and without knowledge of the detector, image by image, and say what came of it."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from torch import Tensor

from condgen.attacks import Attack, AttackResult, Starts
from condgen.audits.adversarial.budgets import named
from condgen.audits.adversarial.examination import examine
from condgen.audits.adversarial.scene import Scene, draw
from condgen.audits.adversarial.shards import Arrays, Shards
from condgen.audits.adversarial.summary import summarise
from condgen.audits.predictions import predict
from condgen.audits.records import Record
from condgen.classifier import GenerativeClassifier
from condgen.data.dataset import ImageDataset
from condgen.detectors import Detector, flagged
from condgen.errors import CondgenError
from condgen.randomness import stream

SHARD = 25  # images in one piece of the work
GALLERY = 3  # images of each cell that the record itself keeps, for the eye
IMAGES = ("perturbed", "rounded")


def adversarial(
    classifier: GenerativeClassifier,
    data: ImageDataset,
    *,
    detector: Detector,
    starts: ImageDataset,
    budget: str = "quick",
    attacks: Mapping[str, Attack] | None = None,
    images: int | None = None,
    epsilon: float = 1.5,
    targeted: bool = False,
    seed: int = 0,
    directory: Path | None = None,
    quiet: bool = False,
) -> Record:
    """Table 2 and more: what every attack does to test images that are classified correctly and accepted.

    Each attack is made twice: on the classifier alone, and on classifier and detector (:class:`condgen.attacks.Evade`).

    Args:
        classifier: The model.
        data: Test images.
        detector: What refuses unlikely images.
        starts: Other real images, from which decision-based attacks start (Sec. 4.3).
        budget: ``"smoke"``, ``"quick"``, ``"standard"`` or ``"paper"``.
        attacks: Your own by name, instead of the four of the budget.
        images: Test images to draw. Default: the budget's.
        epsilon: L2 distance within which Table 2 counts successes. Another needs no new run: all distances are kept.
        targeted: Toward one class for each image, drawn at random, instead of any wrong class.
        seed: Of the draw, the targets and the attacks.
        directory: Keeps every perturbed image, in pieces, so that an audit that was killed goes on. Default: they are in the
            record.
        quiet: No progress bar.

    Raises:
        CondgenError: If epsilon is no positive number, or no image drawn is both classified correctly and accepted.
    """
    if not 0 < epsilon < math.inf:
        raise CondgenError(f"epsilon is {epsilon}, expected a positive L2 distance; the paper has 1.5 for MNIST.")
    spending = named(budget)
    scene = draw(classifier, data, starts, detector, images or spending.images, targeted, seed)
    attacks = attacks or spending.attacks(Starts(scene.pool))
    shards = Shards(directory, {**scene.plan(), "attacks": {name: repr(attack) for name, attack in attacks.items()}})
    runnable = {name: attack for name, attack in attacks.items() if scene.has_gradient or not attack.needs_gradient}
    pieces = _attack(scene, runnable, shards, quiet)
    arrays = {key: np.concatenate([piece[key] for piece in pieces]) for key in pieces[0]}
    checks = examine(scene, runnable, arrays, spending.examined, epsilon)
    shards.forget_others()
    summary = summarise(arrays, epsilon)
    summary |= {"budget": budget, "threshold": detector.threshold, "drawn": scene.drawn, "seed": seed, "targeted": targeted}
    summary |= {"correct": scene.correct, "accepted": scene.accepted, "checks": [asdict(check) for check in checks]}
    return Record("adversarial", summary, _for_record(scene, arrays, keep_all=directory is None))


def _attack(scene: Scene, attacks: Mapping[str, Attack], shards: Shards, quiet: bool) -> list[Arrays]:
    """Every attack on every goal, in pieces of :data:`SHARD` images."""
    pieces, parts = [], np.array_split(np.arange(len(scene.x)), math.ceil(len(scene.x) / SHARD))
    with _progress(quiet) as bars:
        for knows in (False, True):
            for name, attack in attacks.items():
                cell = f"{name}|{int(knows)}"
                aim = "classifier and detector" if knows else "classifier"
                task, done = bars.add_task(f"{name} on {aim}", total=len(scene.x), success=""), 0
                hits: list[bool] = []
                for number, part in enumerate(parts):
                    rows = torch.from_numpy(part)
                    file = f"{name.lower().replace(' ', '-')}-{'detector' if knows else 'classifier'}-{number:03d}"
                    piece = shards.get(file, lambda: _rows(scene, attack, knows, rows, cell, number))  # noqa: B023
                    pieces.append(piece)
                    done += len(part)
                    hits += (piece["fooled"] & (~piece["flagged"] | (not knows))).tolist()
                    bars.update(task, completed=done, success=f"{np.mean(hits):.0%} succeed")
    return pieces


def _rows(scene: Scene, attack: Attack, knows: bool, rows: Tensor, cell: str, number: int) -> Arrays:
    """One piece: an attack on some images, a row each."""
    x, goal = scene.x[rows], scene.goal(knows)[rows]
    result = attack(scene.classifier, x, goal, generator=stream(scene.seed, "adversarial", cell, number))
    target = torch.full_like(rows, -1) if scene.target is None else scene.target[rows]
    return {
        "cell": np.full(len(rows), cell, dtype="U64"),
        "index": scene.index[rows.numpy()],
        "label": scene.label[rows].numpy(),
        "target": target.numpy(),
        "seed": np.full(len(rows), scene.seed),
        "bits_per_dim_before": predict(scene.classifier, x).bits_per_dim.numpy(),
        **_seen(scene, x, result.perturbed, scene.label[rows], ""),
        **_seen(scene, x, result.rounded, scene.label[rows], "_rounded"),
        **_spent(result),
    }


def _spent(result: AttackResult) -> Arrays:
    return {
        "perturbed": result.perturbed.numpy(),
        "rounded": result.rounded.numpy(),
        "reached": result.reached.numpy(),
        "reached_rounded": result.reached_rounded.numpy(),
        "forward": result.forward.numpy(),
        "backward": result.backward.numpy(),
        "status": np.array(result.status, dtype="U64"),
    }


def _seen(scene: Scene, x: Tensor, images: Tensor, label: Tensor, suffix: str) -> Arrays:
    """What classifier and detector say to ``images``, asked anew."""
    prediction = predict(scene.classifier, images)
    shift = (images - x).flatten(1)
    return {
        f"predicted{suffix}": prediction.label.numpy(),
        f"bits_per_dim{suffix}": prediction.bits_per_dim.numpy(),
        f"fooled{suffix}": (prediction.label != label).numpy(),
        f"flagged{suffix}": flagged(scene.detector, prediction).numpy(),
        f"l2{suffix}": shift.norm(dim=1).numpy(),
        f"linf{suffix}": shift.abs().amax(1).numpy(),
    }


def _for_record(scene: Scene, arrays: Arrays, keep_all: bool) -> Arrays:
    """The first successes of each cell as a gallery, and all images only where nothing else keeps them."""
    shown = [rows[:GALLERY] for rows in (np.flatnonzero((arrays["cell"] == c) & arrays["fooled"]) for c in _cells(arrays))]
    rows = np.concatenate([np.empty(0, np.int64), *shown])
    place = np.searchsorted(np.sort(scene.index), arrays["index"][rows])
    original = scene.x[np.argsort(scene.index)[place]].numpy()
    kept = arrays if keep_all else {key: values for key, values in arrays.items() if key not in IMAGES}
    return {**kept, "gallery_row": rows, "gallery_original": original, "gallery_perturbed": arrays["perturbed"][rows]}


def _cells(arrays: Arrays) -> list[str]:
    """In the order in which they were attacked."""
    return list(dict.fromkeys(arrays["cell"].tolist()))


@contextmanager
def _progress(quiet: bool) -> Iterator[Progress]:
    columns = (TextColumn("{task.description:<44}"), BarColumn(20), MofNCompleteColumn(), TextColumn("{task.fields[success]}"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), disable=quiet) as bars:
        yield bars
