"""Attack test images with and without knowledge of the detector, image by image, and say what came of it."""

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

GALLERY = 3  # images of each cell that the record itself keeps, for the eye
IMAGES = ("perturbed", "quantized")
SEEN = (
    "reached",
    "score",
    "predicted",
    "bits_per_dim",
    "misclassified",
    "flagged",
    "l2",
    "linf",
)  # of both images of a row
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
    """Table 2 and more: what every attack does to test images that are classified correctly and accepted.

    Each attack is made twice: on the classifier alone, and on classifier and detector (:class:`condgen.attacks.Evade`).

    Args:
        classifier: The model.
        data: Test images.
        detector: What refuses unlikely images.
        starting_points: Other real images, from which decision-based attacks start (Sec. 4.3).
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
        CondgenError: If epsilon or images is no positive number, attacks have no names or are none, or no image drawn is both
            classified correctly and accepted.
    """
    check_auditable(classifier, data, classes=2)
    check_detector(detector)
    check_count("seed", seed, 0)
    _check(epsilon, images, attacks)
    spending = named(budget)
    scene = draw(
        classifier,
        data,
        starting_points,
        detector,
        spending.images if images is None else images,
        targeted,
        seed,
    )
    attacks = spending.attacks(StartingPoints(scene.pool)) if attacks is None else attacks
    checks = before_attacks(scene, attacks)
    _warn(checks, quiet)
    runnable = {
        name: attack
        for name, attack in attacks.items()
        if scene.gradients or not attack.needs_gradient
    }
    if not runnable:
        raise CondgenError(
            "the model gives no gradient, and all attacks need one; Boundary and HopSkipJump do not."
        )
    plan = {
        **scene.plan(),
        "attacks": {name: fingerprint(attack) for name, attack in runnable.items()},
        "columns": COLUMNS,
    }
    shards = Shards(None if directory is None else as_path(directory), plan)
    pieces = _attack(scene, runnable, shards, quiet)
    arrays = {key: np.concatenate([piece[key] for piece in pieces]) for key in pieces[0]}
    checks += after_attacks(scene, runnable, arrays, spending.examined, epsilon)
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
    """``budget`` of images, steps and queries; ``attacked``: test images to draw instead of the budget's.

    ``epsilon``: L2 distance of Table 2 (1.5 and 33/255); ``targeted``: toward one class for each image.
    """

    budget: Literal["smoke", "quick", "standard", "paper"] = "quick"
    attacked: Positive | None = None
    epsilon: PositiveFloat = 1.5
    targeted: bool = False


def make(subject: Subject, settings: AdversarialSettings) -> Record:
    """The audit of a subject."""
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
            f'attacks is {attacks!r}; name them, as in {{"mine": Mine()}}, or leave them to the budget.'
        )
    for name, attack in attacks.items():
        if not isinstance(attack, Attack):
            raise CondgenError(
                f"the attack '{name}' is {attack!r}, expected an object such as CarliniWagner()."
            )


def _warn(checks: list[Check], quiet: bool) -> None:
    """Before hours are spent: what is wrong with the model."""
    for check in () if quiet else checks:
        if check.outcome == FAIL:
            Console(stderr=True).print(
                f"{check.name}: {check.outcome} ({check.found}). {check.advice}", style="yellow"
            )


def _attack(
    scene: Scene, attacks: Mapping[str, Attack], shards: Shards, quiet: bool
) -> list[Arrays]:
    """Every attack on every goal, in pieces of at most :data:`SHARD` images."""
    pieces, parts = [], np.array_split(np.arange(len(scene.x)), math.ceil(len(scene.x) / SHARD))
    cells = [(knows, place, name) for knows in (False, True) for place, name in enumerate(attacks)]
    with _progress(quiet) as bars:
        for knows, place, name in cells:
            aim = "classifier and detector" if knows else "classifier"
            task, hits = (
                bars.add_task(f"{name} on {aim}", total=len(scene.x), success=""),
                np.empty(0),
            )
            for number, part in enumerate(parts):
                file = f"{place:02d}-{_slug(name)}-{'detector' if knows else 'classifier'}-{number:03d}"
                rows = partial(
                    _rows, scene, attacks[name], name, knows, torch.from_numpy(part), number
                )
                pieces.append(shards.get(file, rows, COLUMNS, len(part)))
                hits = np.append(hits, pieces[-1]["reached"])
                bars.update(task, completed=len(hits), success=f"{hits.mean():.0%} succeed")
    return pieces


def _slug(name: str) -> str:
    """Part of a file's name; the attack's place in the list tells two of them apart."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower())[:40]


def _rows(
    scene: Scene, attack: Attack, name: str, knows: bool, rows: Tensor, number: int
) -> Arrays:
    """One piece: an attack on some images, a row each."""
    x, label, goal = scene.x[rows], scene.label[rows], scene.goal(knows)[rows]
    before = predict(scene.classifier, x)
    result = attack(
        scene.classifier,
        x,
        goal,
        generator=stream(scene.seed, "adversarial", name, int(knows), number),
    )
    target = torch.full_like(rows, -1) if scene.target is None else scene.target[rows]
    arrays = {
        "attack": np.array([name] * len(rows)),
        "detector_aware": np.full(len(rows), knows),
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
    gone = result.reached.numpy() & ~arrays["reached"]
    return {**arrays, "status": np.where(gone, VANISHED, arrays["status"])}


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
    """Predictions and scores of each image by itself; a success that they do not confirm is not counted."""
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
    """The nearest successes of each attack as a gallery, and all images only where nothing else keeps them."""
    cells = dict.fromkeys(
        zip(arrays["attack"].tolist(), arrays["detector_aware"].tolist(), strict=True)
    )
    shown = [np.empty(0, np.int64)]
    for name, knows in cells:
        hit = np.flatnonzero(
            (arrays["attack"] == name) & (arrays["detector_aware"] == knows) & arrays["reached"]
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
