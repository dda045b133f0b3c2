"""The audits of a run, one after the other, and what each was made with."""

from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from condgen import audits, machine
from condgen.audits.records import Record
from condgen.builders import build_detector, open_data
from condgen.classifier import GenerativeClassifier
from condgen.config import AUDITS, Config, replaced
from condgen.data.dataset import Splits
from condgen.detectors import Detector
from condgen.errors import CondgenError, ConfigError
from condgen.experiments.models import load_classifier
from condgen.runs import Run, installed_versions
from condgen.training.checkpoints import Checkpoint

READ_BY = {
    f"audit.{key}": name
    for name, keys in {
        "classification": ["noise_draws"],
        "interpolation": ["pairs", "alphas"],
        "samples": ["samples"],
        "adversarial": ["budget", "attacked", "epsilon", "targeted"],
    }.items()
    for key in keys
}


def audit(
    run: Run,
    only: Collection[str] = AUDITS,
    *,
    budget: str | None = None,
    data_dir: Path | None = None,
    device: str = "cpu",
    quiet: bool = False,
    overrides: Collection[str] = (),
    done: Callable[[Record], None] | None = None,
) -> list[Record]:
    """Run the named audits on the test images and save their records in the run.

    Args:
        run: A trained run.
        only: Names of audits.
        budget: Of attacks, instead of the run's.
        data_dir: As for :func:`condgen.open_dataset`.
        device: "cpu", "cuda", or "auto" for the CUDA device where there is one.
        quiet: No progress bars.
        overrides: ``section.key=value`` of the sections ``detector`` and ``audit``, instead of the run's.
        done: Called with each record as soon as it is saved.

    Raises:
        ConfigError: If a setting is given that none of the audits reads.
        CondgenError: If an audit cannot be made, after all others have been.
    """
    config = replaced(run.config, overrides, ("detector", "audit"))
    _check_read(only, [override.partition("=")[0].strip() for override in overrides] + ["audit.budget"] * bool(budget))
    splits, checkpoint, place = open_data(config, data_dir), Checkpoint.load(run.best), machine.prepare_device(device)
    classifier = load_classifier(run, splits, place, checkpoint)
    detector = build_detector(config, classifier, splits.validation)
    origin = _origin(config, checkpoint, place)
    records: list[Record] = []
    failures = []
    for name in (name for name in AUDITS if name in only):
        try:
            made = _record(name, run, config, classifier, splits, detector, budget or config.audit.budget, quiet)
        except CondgenError as error:
            failures.append(f"{name}: {error}")
            continue
        records.append(replace(made, origin=origin))
        records[-1].save(run.records)
        if done:
            done(records[-1])
    if failures:
        raise CondgenError(" ".join(failures))
    return records


def _check_read(only: Collection[str], keys: Collection[str]) -> None:
    for key in keys:
        if key in READ_BY and READ_BY[key] not in only:
            raise ConfigError(f"{key} is read by the audit {READ_BY[key]} alone, which is not made; leave one of them out.")


def _origin(config: Config, checkpoint: Checkpoint, device: torch.device) -> dict[str, Any]:
    """What the records of these audits were made with."""
    settings = config.model_dump(include={"detector", "audit", "seed"}, exclude_none=True)
    found = {"weights": checkpoint.weights_sha256, "epoch": checkpoint.epoch, "device": device.type}
    return {**found, **settings, "versions": installed_versions()}


def _record(
    name: str,
    run: Run,
    config: Config,
    classifier: GenerativeClassifier,
    splits: Splits,
    detector: Detector,
    budget: str,
    quiet: bool,
) -> Record:
    """One audit with the settings of ``config``."""
    settings, seed, test = config.audit, config.seed, splits.test
    match name:
        case "classification":
            return audits.classification(classifier, test, detector=detector, noise_draws=settings.noise_draws, seed=seed)
        case "membership":
            return audits.membership(classifier, test, seed=seed)
        case "interpolation":
            length = {"pairs": settings.pairs, "alphas": settings.alphas}
            return audits.interpolation(classifier, test, detector=detector, **length, seed=seed, quiet=quiet)
        case "adversarial":
            return audits.adversarial(
                classifier,
                test,
                detector=detector,
                starts=splits.validation,
                budget=budget,
                images=settings.attacked,
                epsilon=settings.epsilon,
                targeted=settings.targeted,
                seed=seed,
                directory=run.records / "adversarial",
                quiet=quiet,
            )
        case _:
            return audits.samples(classifier.density, count=settings.samples, seed=seed)
