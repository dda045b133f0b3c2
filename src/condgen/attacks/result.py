"""The result of an attack on some images, and the reasons why an attack ended."""

from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor

REACHED, NOT_REACHED = "reached", "not reached"
ALREADY = "reached by the original"
NO_START = "no start image reaches the goal"
NO_GRADIENT = "the gradient at the original is zero"
VANISHED = "reached, but not when evaluated again"


@dataclass(frozen=True)
class AttackResult:
    """The result of an attack; every field has one entry per image.

    Args:
        perturbed: The nearest images found that reach the goal, within the model's bounds, shape
            ``(N, *event_shape)``; the original if none was found.
        quantized: ``perturbed`` rounded to the data's levels. If rounding loses the goal: the first
            image further along the perturbation that keeps it, or else on the line to the surest
            success. Equal to ``perturbed`` for continuous data.
        reached: Whether ``perturbed`` reaches the goal, evaluated again after the search, shape
            ``(N,)``.
        reached_quantized: The same for ``quantized``.
        l2, linf: Distances of ``perturbed`` from the original, shape ``(N,)``; infinite if the goal
            was not reached.
        forward, backward: Passes through the model spent on the image, shape ``(N,)``.
        status: Why the attack ended, one text per image.
    """

    perturbed: Tensor
    quantized: Tensor
    reached: Tensor
    reached_quantized: Tensor
    l2: Tensor
    linf: Tensor
    forward: Tensor
    backward: Tensor
    status: tuple[str, ...]


def concatenate(results: list[AttackResult]) -> AttackResult:
    """Concatenate the results of several batches."""
    *tensors, statuses = zip(*(vars(result).values() for result in results), strict=True)
    joined: list[Any] = [*map(torch.cat, tensors), tuple(chain.from_iterable(statuses))]
    return AttackResult(*joined)
