"""The adversarial audit: detector-unaware and detector-aware attacks on test images."""

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from torch import Tensor

from condgen.attacks import Attack, AttackResult, Goal, StartingPoints
from condgen.attacks.attack import VANISHED
from condgen.attacks.goals import reached
from condgen.audits.adversarial.budgets import named
from condgen.audits.adversarial.examination import after_attacks, before_attacks
from condgen.audits.adversarial.scene import Scene, draw
from condgen.audits.adversarial.shards import SHARD, Arrays, Shards
from condgen.audits.adversarial.summary import summarize
from condgen.audits.audit import Audit
from condgen.audits.checks import FAIL, Check
from condgen.audits.fingerprints import fingerprint
from condgen.audits.predictions import check_auditable
from condgen.audits.records import Record
from condgen.audits.subject import Subject
from condgen.classifier import GenerativeClassifier, predict
from condgen.config import AuditSettings
from condgen.config.section import Positive, PositiveFloat
from condgen.data.dataset import ImageDataset
from condgen.detectors import Detector, flagged, score
from condgen.detectors.base import check_detector, summary_of
from condgen.errors import CondgenError
from condgen.files import as_json, as_path
from condgen.randomness import stream
from condgen.registry import AUDITS
from condgen.validation import check_count, is_number

GALLERY = 3  # adversarial images of each cell that the record keeps for the report
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


def adversarial(
    classifier: GenerativeClassifier,
    data: ImageDataset,
    *,
    detector: Detector,
    starting_points: ImageDataset,
    budget: str = "quick",
    attacks: Mapping[str, Attack] | None = None,
    images: int | None = None,
    epsilon: float = 1.5,
    targeted: bool = False,
    seed: int = 0,
    directory: Path | str | None = None,
    quiet: bool = False,
) -> Record:
    """Attack the test images that are classified correctly and accepted (Table 2).

    Each attack runs twice: on the classifier alone, and on classifier and detector
    (:class:`condgen.attacks.Evade`).

    Args:
        classifier: The model.
        data: Test images.
        detector: The detector of unlikely images, with a threshold.
        starting_points: Other real images, from which decision-based attacks start (Sec. 4.3).
        budget: ``"smoke"``, ``"quick"``, ``"standard"`` or ``"paper"``.
        attacks: Your own attacks by name, instead of the four of the budget.
        images: Number of test images to draw. Default: that of the budget.
        epsilon: L2 distance within which Table 2 counts successes. The record keeps all distances,
            so another epsilon needs no new run.
        targeted: Attack toward one wrong class per image, drawn at random, instead of any wrong
            class.
        seed: Seed of the draw, the targets and the attacks.
        directory: Folder for all perturbed images, in shards, so that an interrupted audit can
            resume. Default: the record holds them.
        quiet: Show no progress bar.

    Raises:
        CondgenError: If epsilon or images is not a positive number, attacks is empty, has no names
            or holds something else, or no image drawn is both classified correctly and accepted.
    """
    check_auditable(classifier, data, classes=2)
    check_detector(detector)
    check_count("seed", seed, 0)
    _check(epsilon, images, attacks)
    limits = named(budget)
    scene = draw(
        classifier,
        data,
        starting_points,
        detector,
        limits.images if images is None else images,
        targeted,
        seed,
    )
    attacks = limits.attacks(StartingPoints(scene.pool)) if attacks is None else attacks
    checks = before_attacks(scene, attacks)
    _warn(checks, quiet)
    runnable = {
        name: attack
        for name, attack in attacks.items()
        if scene.gradients or not attack.needs_gradient
    }
    if not runnable:
        raise CondgenError(
            "the model gives no gradient, and all attacks need one; Boundary and HopSkipJump do"
            " not."
        )
    plan = {
        **scene.plan(),
        "attacks": {name: fingerprint(attack) for name, attack in runnable.items()},
        "columns": COLUMNS,
    }
    shards = Shards(None if directory is None else as_path(directory), plan)
    pieces = _attack(scene, runnable, shards, quiet)
    arrays = {key: np.concatenate([piece[key] for piece in pieces]) for key in pieces[0]}
    checks += after_attacks(scene, runnable, arrays, limits.examined, epsilon)
    summary = summarize(arrays, epsilon) | {"checks": [asdict(check) for check in checks]}
    summary |= {
        "budget": budget,
        "threshold": float(detector.threshold),
        "seed": seed,
        "targeted": targeted,
    }
    summary |= {
        "detector": summary_of(detector, classifier.density),
        "class_prior": classifier.class_prior,
    }
    summary |= {"drawn": scene.drawn, "correct": scene.correct, "accepted": scene.accepted}
    summary |= {"left_out": [name for name in attacks if name not in runnable]}
    return Record(
        "adversarial", as_json(summary), _for_record(scene, arrays, keep_all=directory is None)
    )


class AdversarialSettings(AuditSettings):
    """``budget``: limits on images, steps and queries; ``attacked``: number of test images to draw.

    ``epsilon``: L2 distance of Table 2 (1.5 and 33/255); ``targeted``: attack toward one class per
    image. If ``attacked`` is not set, the budget gives the number of images.
    """

    budget: Literal["smoke", "quick", "standard", "paper"] = "quick"
    attacked: Positive | None = None
    epsilon: PositiveFloat = 1.5
    targeted: bool = False


def make(subject: Subject, settings: AdversarialSettings) -> Record:
    """Run the audit on a subject."""
    return adversarial(
        subject.classifier,
        subject.splits.test,
        detector=subject.detector,
        starting_points=subject.splits.validation,
        budget=settings.budget,
        images=settings.attacked,
        epsilon=settings.epsilon,
        targeted=settings.targeted,
        seed=subject.seed,
        directory=subject.directory,
        quiet=subject.quiet,
    )


AUDIT = AUDITS.register("adversarial")(
    Audit("adversarial", AdversarialSettings, make, uses_detector=True)
)


def _check(epsilon: float, images: int | None, attacks: Mapping[str, Attack] | None) -> None:
    if not is_number(epsilon) or epsilon <= 0:
        raise CondgenError(
            f"epsilon is {epsilon!r}, expected a positive L2 distance; the paper has 1.5 for MNIST."
        )
    if images is not None:
        check_count("images", images)
    if attacks is None:
        return
    if not isinstance(attacks, Mapping) or not attacks:
        raise CondgenError(
            f'attacks is {attacks!r}; name them, as in {{"mine": Mine()}}, or omit them to use'
            " those of the budget."
        )
    for name, attack in attacks.items():
        if not isinstance(attack, Attack):
            raise CondgenError(
                f"the attack '{name}' is {attack!r}, expected an object such as CarliniWagner()."
            )


def _warn(checks: list[Check], quiet: bool) -> None:
    """Print the checks of the model that fail, before the long attacks start."""
    for check in () if quiet else checks:
        if check.outcome == FAIL:
            Console(stderr=True).print(
                f"{check.name}: {check.outcome} ({check.found}). {check.advice}", style="yellow"
            )


def _attack(
    scene: Scene, attacks: Mapping[str, Attack], shards: Shards, quiet: bool
) -> list[Arrays]:
    """Run every attack on every goal, in shards of at most :data:`SHARD` images."""
    pieces, parts = [], np.array_split(np.arange(len(scene.x)), math.ceil(len(scene.x) / SHARD))
    cells = [(aware, place, name) for aware in (False, True) for place, name in enumerate(attacks)]
    with _progress(quiet) as bars:
        for aware, place, name in cells:
            aim = "classifier and detector" if aware else "classifier"
            task = bars.add_task(f"{name} on {aim}", total=len(scene.x), success="")
            hits = np.empty(0)
            for number, part in enumerate(parts):
                goal = "detector" if aware else "classifier"
                file = f"{place:02d}-{_slug(name)}-{goal}-{number:03d}"
                rows = partial(
                    _rows, scene, attacks[name], name, aware, torch.from_numpy(part), number
                )
                pieces.append(shards.get(file, rows, COLUMNS, len(part)))
                hits = np.append(hits, pieces[-1]["reached"])
                bars.update(task, completed=len(hits), success=f"{hits.mean():.0%} succeed")
    return pieces


def _slug(name: str) -> str:
    """The attack's name for a file name, which its place in the list makes unique."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower())[:40]


def _rows(
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


def _for_record(scene: Scene, arrays: Arrays, keep_all: bool) -> Arrays:
    """The arrays and a gallery of each attack's nearest successes; all images if ``keep_all``."""
    cells = dict.fromkeys(
        zip(arrays["attack"].tolist(), arrays["detector_aware"].tolist(), strict=True)
    )
    shown = [np.empty(0, np.int64)]
    for name, aware in cells:
        hit = np.flatnonzero(
            (arrays["attack"] == name) & (arrays["detector_aware"] == aware) & arrays["reached"]
        )
        shown.append(hit[np.argsort(arrays["l2"][hit])][:GALLERY])
    rows = np.concatenate(shown)
    place = [int(np.flatnonzero(scene.index == i)[0]) for i in arrays["index"][rows]]
    kept = (
        arrays if keep_all else {key: values for key, values in arrays.items() if key not in IMAGES}
    )
    gallery = {
        "row": rows,
        "original": scene.x[place].numpy(),
        "perturbed": arrays["perturbed"][rows],
    }
    return {**kept, **{f"gallery_{key}": values for key, values in gallery.items()}}


@contextmanager
def _progress(quiet: bool) -> Iterator[Progress]:
    columns = (
        TextColumn("{task.description:<44}"),
        BarColumn(20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[success]}"),
    )
    with Progress(
        *columns, TimeElapsedColumn(), console=Console(stderr=True), disable=quiet
    ) as bars:
        yield bars
