"""Failures of a machine as one sentence: no memory, no disk, no deterministic operation."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from rich.console import Console

from condgen.classifier import images_at_once
from condgen.density import ClassConditionalDensity
from condgen.errors import (
    TrainingError,
    WriteError,
    as_size,
    disk_is_full,
    no_deterministic_version,
    out_of_memory,
)
from condgen.experiments.building import Experiment
from condgen.experiments.free_memory import free_memory
from condgen.experiments.step_memory import StepMemory, may_exceed, step_memory
from condgen.models.memory import gradient_memory
from condgen.runs import Run


@contextmanager
def training_failures(experiment: Experiment, run: Run) -> Iterator[None]:
    """Context of a training: warns if memory will not suffice, and explains why it failed.

    Raises:
        TrainingError: If memory is exhausted, with settings that fit, or an operation has no
            deterministic version.
        WriteError: If the disk is full; says which checkpoint is kept.
    """
    step = experiment.step
    free = free_memory(step.classifier.device)
    found = None
    if may_exceed(step, run.config, free):
        found = step_memory(step, run.config, free)
    if found and not found.fits:
        Console(stderr=True).print(
            f"condgen: {found.words()}, so the system may end this process. To need less,"
            f" {_other_settings(found, run)}",
            markup=False,
            style="yellow",
            soft_wrap=True,
        )
    try:
        with _explained():
            yield
    except WriteError as error:
        raise WriteError(f"{error} {_kept(run)}") from error
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)  # they hold the tensors of the step
        if found := found or step_memory(step, run.config, free):
            words = found.words("more than the estimated" if found.fits else "about")
            message = f"not enough memory: {words}; {_other_settings(found, run)}"
        else:
            message = _general(experiment.classifier.density)
        raise TrainingError(message) from error


@contextmanager
def audit_failures(density: ClassConditionalDensity) -> Iterator[None]:
    """Context of an audit or a prediction: explains why it failed.

    Raises:
        TrainingError: If memory is exhausted, or an operation has no deterministic version.
        WriteError: If the disk is full.
    """
    device = next((each.device for each in density.parameters()), None)
    free = free_memory(device) if device else None
    try:
        with _explained():
            yield
    except WriteError as error:
        raise WriteError(f"{error} Saved results are kept; the same command continues.") from error
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)
        raise TrainingError(
            f"not enough memory{_of_gradients(density, free)}; free memory, use fewer --threads, or"
            " audit on another machine."
        ) from error


@contextmanager
def _explained() -> Iterator[None]:
    """Convert errors that do not depend on what is done."""
    try:
        yield
    except OSError as error:
        if not disk_is_full(error):
            raise
        raise WriteError(
            f"{error.filename or 'a file'} cannot be written ({error.strerror}); free some space."
        ) from error
    except RuntimeError as error:
        if operation := no_deterministic_version(error):
            raise TrainingError(
                f"{operation} has no deterministic version on this device; leave out"
                " --deterministic, or use --device cpu."
            ) from error
        raise


def _kept(run: Run) -> str:
    if not run.steps_done:
        return "No checkpoint had been written yet; --resume starts again."
    return f"The checkpoint of step {run.steps_done} is kept; --resume continues there."


def _other_settings(found: StepMemory, run: Run) -> str:
    advice = found.advice() or "a smaller batch, a smaller model or smaller images"
    begun = "free memory and continue with --resume, or " if run.steps_done else ""
    return f"{begun}train a new run with {advice}."


def _general(density: ClassConditionalDensity) -> str:
    hint = f", or {density.memory_hint}" if density.memory_hint else ""
    return (
        "not enough memory; use a smaller training.batch_size or a larger"
        f" training.accumulation{hint}."
    )


def _of_gradients(density: ClassConditionalDensity, free: int | None) -> str:
    """Memory of a likelihood and its gradient as a phrase; empty if it cannot be measured."""
    images = images_at_once(density)
    with suppress(MemoryError, RuntimeError):
        needed = as_size(gradient_memory(density).of(images))
        left = "" if free is None else f", {as_size(free)} were free"
        return f": the likelihood of {images} images and its gradient need about {needed}{left}"
    return ""
