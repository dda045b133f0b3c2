"""Converts a training step to a checkpoint and back; refuses to resume another training run."""

import math
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from condgen.config import LinearDecay, Training
from condgen.config.training import WITHOUT_EFFECT
from condgen.errors import RunError
from condgen.training import checkpoints
from condgen.training.checkpoints import (
    MODULE_PREFIX,
    STATE_PREFIX,
    Checkpoint,
    NewerFormat,
    load_weights,
    plain,
)
from condgen.training.loader import Loader, steps_in_all
from condgen.training.objectives import Ramp
from condgen.training.steps import TrainingStep

LENGTH = ("epochs", "max_steps")  # settings of the length of training


def may_grow(settings: Training, *, ramped: bool = False) -> tuple[str, ...]:
    """The settings that may grow on resume: they only make the training longer.

    Empty if a step depends on the length of training: by the learning rate, by the weight of a
    ``ramped`` objective, or by the snapshots.
    """
    if ramped or settings.snapshots or isinstance(settings.decay, LinearDecay):
        return ()
    return LENGTH


def made_with(step: TrainingStep, loader: Loader, settings: Training) -> dict[str, Any]:
    """Everything that the weights after a given step depend on, by name; stored in checkpoints."""
    ramped = isinstance(getattr(step, "objective", None), Ramp)
    page = settings.model_dump(exclude={*may_grow(settings, ramped=ramped), *WITHOUT_EFFECT})
    return {
        "seed": loader.seed,
        "images": len(loader.data),
        "objective": step.description,
        "augmentation": repr(loader.augmentation),
        **dict(_flat("training", page)),
    }


def snapshot(
    step: TrainingStep,
    epoch: int,
    metrics: dict[str, float],
    found: dict[str, Any],
    progress: dict[str, Any],
) -> Checkpoint:
    """The checkpoint of a step after ``epoch`` epochs, made with ``found``.

    ``progress`` is that of the last epoch. Module tensors that equal the weights of the same name
    are stored once.
    """
    weights, training = plain(step.weights()), {}
    for module, network in step.modules.items():
        for name, tensor in plain(network.state_dict()).items():
            if name not in weights or not torch.equal(tensor, weights[name]):
                training[f"{MODULE_PREFIX}{module}.{name}"] = tensor
    state = {f"{STATE_PREFIX}{name}": tensor for name, tensor in step.state().items()}
    tensors = {**training, **state}
    return Checkpoint(weights, tensors, epoch, step.taken, metrics, found, progress)


def newest(
    directory: Path, found: dict[str, Any], monitor: str
) -> tuple[Checkpoint, dict[str, float]]:
    """The newest checkpoint of ``directory``, and the metrics of the best one.

    Raises:
        RunError: If the checkpoint is damaged, or was not made with ``found``.
    """
    state, resumed_from = newest_readable(directory)
    check_same_training(state, found, directory)
    best, replaced = _best_metrics(directory, state, monitor)
    for warning in filter(None, (resumed_from, replaced)):
        Console(stderr=True).print(warning, markup=False)
    return state, best


def newest_readable(directory: Path) -> tuple[Checkpoint, str]:
    """The checkpoint to resume from, and a warning if it is not the last one.

    A damaged ``last`` is removed, because it would become ``previous`` at the next save. A missing
    ``last`` means that the process was killed while it was being saved.

    Raises:
        RunError: If neither ``last`` nor ``previous`` can be read, or ``last`` has a newer format.
    """
    try:
        return Checkpoint.load(directory / "last"), ""
    except RunError as error:
        if isinstance(error, NewerFormat) or not (directory / "previous").is_dir():
            raise
        checkpoint = Checkpoint.load(directory / "previous")
        if not (directory / "last").exists():
            warning = (
                f"Training was stopped while {directory / 'last'} was being saved. Resumed from"
                f" step {checkpoint.step}; later steps are trained again."
            )
            return checkpoint, warning
        shutil.rmtree(directory / "last", ignore_errors=True)
        return checkpoint, f"{error} Resumed from step {checkpoint.step}; nothing else was lost."


def _best_metrics(directory: Path, last: Checkpoint, monitor: str) -> tuple[dict[str, float], str]:
    """Validation metrics of ``best``, and a warning if it was replaced by ``last``.

    Infinity before the end of the first epoch.
    """
    if not last.epoch:
        return {monitor: math.inf}, ""
    try:
        return Checkpoint.load(directory / "best", monitor).metrics, ""
    except RunError as error:
        checkpoints.keep_best(last, directory)
        return last.metrics, f"{error} The checkpoint of epoch {last.epoch} takes its place."


def restore(step: TrainingStep, state: Checkpoint, directory: Path) -> None:
    """Load a checkpoint of ``directory`` into ``step``.

    Raises:
        RunError: If it has another architecture.
    """
    for module, network in step.modules.items():
        own = _with_prefix(f"{MODULE_PREFIX}{module}.", state.training)
        complete = network is step.classifier.density
        names = state.weights if complete else state.weights.keys() & network.state_dict().keys()
        load_weights(network, {name: state.weights[name] for name in names} | own, directory)
    step.restore(_with_prefix(STATE_PREFIX, state.training), state.step)


def is_finished(directory: Path, settings: Training) -> bool:
    """Whether the training in ``directory`` has reached the length that ``settings`` give."""
    epochs, steps, found = checkpoints.progress_of(directory)
    if not found:
        return epochs >= settings.epochs
    per_epoch = found["images"] // found["training.batch_size"]
    end = steps_in_all(per_epoch, settings)
    return steps >= end and epochs >= -(-end // per_epoch)  # the last epoch is validated


def check_same_training(state: Checkpoint, now: Mapping[str, Any], directory: Path) -> None:
    """Refuse a checkpoint that was made with other settings, data, objective or seed.

    Raises:
        RunError: If anything differs; names each difference.
    """
    if not state.made_with:  # an older checkpoint has only its epoch and step
        before = {"training.steps_per_epoch": state.step / state.epoch}
        now = {"training.steps_per_epoch": now["images"] // now["training.batch_size"]}
    else:
        before = {**dict(_flat("training", Training().model_dump())), **state.made_with}
    changes = [
        f"{name} was {before[name]}, now {value}"
        for name, value in now.items()
        if name in before and before[name] != value
    ]
    if changes:
        raise RunError(
            f"{directory} holds checkpoints of another training run ({', '.join(changes)});"
            " resume with the same settings, or use another directory."
        )


def _flat(prefix: str, table: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(f"{prefix}.{key}", value)
        else:
            yield f"{prefix}.{key}", value


def _with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names start with ``prefix``, with the prefix removed."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
