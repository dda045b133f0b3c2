"""Estimates the memory of a training step, and finds settings that fit."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import get_args

import torch

from condgen import processes
from condgen.config import Config, ModelSettings
from condgen.errors import as_size
from condgen.models.memory import Memory, rough_bound, training_memory
from condgen.runs.restoring import build_density
from condgen.training.maximum_likelihood import MaximumLikelihood
from condgen.training.steps import TrainingStep

ROOM = 0.75  # share of the free memory that advised settings need at most
GAPS = 1.4  # recomputation leaves gaps between what is stored and what is not


@dataclass(frozen=True)
class StepMemory:
    """Estimated memory of a training step, and the memory that was free before the first one.

    Args:
        config: The page of the run.
        memory: That of its model.
        free: Bytes; ``None`` if unknown.
        device: The device of the model.
    """

    config: Config
    memory: Memory
    free: int | None
    device: torch.device

    @property
    def needed(self) -> int:
        """Bytes of a step."""
        training = self.config.training
        return _of_step(self.memory, training.batch_size, training.accumulation)

    @property
    def fits(self) -> bool:
        """True if the estimate is at most the free memory, or that is unknown."""
        return self.free is None or self.needed <= self.free

    def words(self, about: str = "about") -> str:
        """Memory that a step needs and memory that is free, as a phrase."""
        training = self.config.training
        parts = f" in {training.accumulation} parts" if training.accumulation > 1 else ""
        free = "" if self.free is None else f", {as_size(self.free)} are free"
        step = f"a step on {training.batch_size} images{parts}"
        return f"{step} needs {about} {as_size(self.needed)}{free}"

    def advice(self) -> str:
        """Settings that fit, each with the memory of a step; empty if there are none."""
        options = [f"{setting} ({as_size(size)})" for setting, size in self._options()]
        return " or ".join(filter(None, [", ".join(options[:-1]), *options[-1:]]))

    def _options(self) -> Iterator[tuple[str, int]]:
        """Accumulation comes first because it keeps the size of a batch."""
        training, parts = self.config.training, self._parts(self.memory)
        if parts:
            yield (
                f"training.accumulation={parts}",
                _of_step(self.memory, training.batch_size, parts),
            )
        if saving := self._saving():
            name, memory = saving
            fewer = self._parts(memory)
            if fewer and (not parts or fewer < parts):
                more = f" with training.accumulation={fewer}" * (fewer > training.accumulation)
                size = _of_step(memory, training.batch_size, fewer)
                yield f'model.memory="{name}"{more}', size
        batch = training.batch_size
        while batch >= training.accumulation:
            size = _of_step(self.memory, batch, training.accumulation)
            if size <= self._limit:
                yield f"training.batch_size={batch}", size
                return
            batch //= 2

    @property
    def _limit(self) -> int:
        """Memory that an option may need: half of a step's if the estimate was too low."""
        return self.needed // 2 if self.free is None or self.fits else int(ROOM * self.free)

    def _parts(self, memory: Memory) -> int:
        """The smallest accumulation that fits, as a power of two of the current one; 0 if none."""
        training = self.config.training
        parts = training.accumulation
        while parts <= training.batch_size:
            if _of_step(memory, training.batch_size, parts) <= self._limit:
                return parts
            parts *= 2
        return 0

    def _saving(self) -> tuple[str, Memory] | None:
        """The setting of ``model.memory`` that recomputes activations, and its memory."""
        settings, images = self.config.model, self.config.images
        name = _recomputing(settings)
        if self.config.training.compile or images is None or not name:
            return None
        settings = settings.model_copy(update={"memory": name})
        density = build_density(settings, images, self.config.seed).to(self.device)
        with density.executed_on(self.device.type):
            memory = training_memory(density)
        return name, Memory(memory.fixed, int(GAPS * memory.per_image))


def may_exceed(step: TrainingStep, config: Config, free: int | None) -> bool:
    """Return True if a cheap upper bound of a step's memory exceeds the free memory."""
    if free is None or not _is_estimated(step, config):
        return False
    with suppress(MemoryError, RuntimeError):
        bound, training = rough_bound(step.classifier.density), config.training
        return _of_step(bound, training.batch_size, training.accumulation) > free
    return True


def step_memory(step: TrainingStep, config: Config, free: int | None) -> StepMemory | None:
    """Estimate the memory of a step, of which ``free`` bytes are left; ``None`` without a good one.

    There is none for models without the setting ``model.memory``, and for objectives besides
    maximum likelihood.
    """
    if not _is_estimated(step, config):
        return None
    with suppress(MemoryError, RuntimeError):  # not even a few images fit
        density = step.classifier.density
        return StepMemory(config, training_memory(density), free, step.classifier.device)
    return None


def _is_estimated(step: TrainingStep, config: Config) -> bool:
    return type(step) is MaximumLikelihood and "memory" in type(config.model).model_fields


def _of_step(memory: Memory, images: int, parts: int) -> int:
    """Bytes of this process, which computes its share of each part of a batch."""
    return memory.of(-(-images // (parts * processes.count())))


def _recomputing(settings: ModelSettings) -> str:
    """The value of ``model.memory`` besides "standard"; empty if it is set or there is none."""
    if getattr(settings, "memory", "") != "standard":
        return ""
    values = get_args(type(settings).model_fields["memory"].annotation)
    return str(next(value for value in values if value != "standard"))
