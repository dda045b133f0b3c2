"""The adversarial audit: detector-unaware and detector-aware attacks on test images."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import numpy as np
from rich.console import Console

from condgen.attacks import Attack, StartingPoints
from condgen.audits.adversarial.attack_checks import after_attacks
from condgen.audits.adversarial.budgets import named
from condgen.audits.adversarial.estimate import estimated_seconds
from condgen.audits.adversarial.gallery import for_record
from condgen.audits.adversarial.model_checks import before_attacks
from condgen.audits.adversarial.rows import COLUMNS
from condgen.audits.adversarial.run_attacks import run_attacks
from condgen.audits.adversarial.scene import draw
from condgen.audits.adversarial.shards import Shards
from condgen.audits.adversarial.summary import summarize
from condgen.audits.audit import Audit
from condgen.audits.checks import FAIL, Check
from condgen.audits.fingerprints import fingerprint
from condgen.audits.predictions import check_auditable
from condgen.audits.records import Record
from condgen.audits.subject import Subject
from condgen.classifier import GenerativeClassifier
from condgen.config import AuditSettings
from condgen.config.section import Positive, PositiveFloat
from condgen.data.dataset import ImageDataset
from condgen.detectors import Detector
from condgen.detectors.base import check_detector, summary_of
from condgen.errors import CondgenError
from condgen.files import as_json, as_path
from condgen.registry import AUDITS
from condgen.training.progress import duration
from condgen.validation import check_count, is_number


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
        attacks: Your own attacks by name, instead of those of the budget.
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
    if not quiet:
        longest = duration(estimated_seconds(scene, runnable))
        Console(stderr=True).print(f"attacks on {len(scene.x)} images: at most about {longest}")
    shards = Shards(None if directory is None else as_path(directory), plan)
    pieces = run_attacks(scene, runnable, shards, quiet)
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
        "adversarial", as_json(summary), for_record(scene, arrays, keep_all=directory is None)
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
