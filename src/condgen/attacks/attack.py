"""An attack is one method; the base class asks, checks, counts and reports."""

import abc
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from condgen.attacks.goals import Goal, check_goal, reached
from condgen.attacks.search import Search, spread
from condgen.classifier import (
    GenerativeClassifier,
    at_least_float32,
    check_classifier,
    evaluating,
    images_at_once,
)
from condgen.errors import CondgenError
from condgen.validation import check_count, check_images, is_count, is_number

REACHED, NOT_REACHED = "reached", "not reached"
ALREADY = "reached by the original"
NO_START = "no start image reaches the goal"
NO_GRADIENT = "the gradient at the original is zero"
VANISHED = "reached, but not when asked again"

COUNT, SHARE, POSITIVE = (1, math.inf), (0.0, 1.0), (1e-6, 1.0)  # limits of settings

INWARD = (
    1e-6,
    1e-5,
    1e-4,
    1e-3,
    0.01,
    0.1,
    1.0,
)  # of the way to the surest success: alone, sums may round otherwise
STRETCHES = (
    1.0,
    1.002,
    1.005,
    1.01,
    1.02,
    1.03,
    1.05,
    1.1,
    1.25,
    1.5,
    2.0,
    3.0,
    5.0,
)  # until a stored image keeps the goal;
STRIDES = (
    0.1,
    0.2,
    0.3,
    0.5,
    0.7,
    1.0,
)  # then of the way to the surest success, since further on a detector may wait


@dataclass(frozen=True)
class AttackResult:
    """What an attack found; every field has one entry per image.

    Args:
        perturbed: The nearest images that reached the goal, within the model's bounds, shape ``(N, *event_shape)``; the
            original where none did.
        quantized: The same rounded to the data's levels; where the goal is lost by that, the first image further along
            the line that keeps it, or else on the way to the surest success. Equal to ``perturbed`` for continuous data.
        reached: Whether ``perturbed`` reaches the goal, asked anew after the search, shape ``(N,)``.
        reached_quantized: The same for ``quantized``.
        l2, linf: Distances of ``perturbed`` from the original, shape ``(N,)``; infinite where the goal was not reached.
        forward, backward: Passes through the model spent on the image, shape ``(N,)``.
        status: Why it ended, in words, one per image.
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


class Attack(abc.ABC):
    """A subclass writes :meth:`perturb`; calling the attack checks what goes in and measures what comes out.

    Examples:
        >>> from condgen import DiagonalGaussian
        >>> from condgen.attacks import CarliniWagner, Misclassify
        >>> classifier = GenerativeClassifier(DiagonalGaussian(torch.tensor([[0.2, 0.5], [0.8, 0.5]])))
        >>> result = CarliniWagner()(classifier, torch.tensor([[0.3, 0.5]]), Misclassify(torch.tensor([0])))
        >>> result.status, round(result.l2.item(), 2)
        (('reached',), 0.2)
    """

    needs_gradient: ClassVar[bool] = True

    @abc.abstractmethod
    def perturb(self, search: Search, index: Tensor, generator: torch.Generator) -> dict[int, str]:
        """Ask ``search`` about images; it keeps the best.

        Args:
            search: The originals, the goal, and the only way to the classifier.
            index: The images to work on, shape ``(n,)``; the others have reached their goal as they are.
            generator: For everything random.

        Returns:
            For images that could not be worked on, why; usually empty.
        """

    def doubled(self) -> "Attack | None":
        """The same attack with twice the effort, if it has such a setting; an audit asks whether that finds more."""
        return None

    @final
    def __call__(
        self,
        classifier: GenerativeClassifier,
        x: Tensor,
        goal: Goal,
        *,
        generator: torch.Generator | None = None,
        batch: int | None = None,
    ) -> AttackResult:
        """Attack every image.

        Args:
            classifier: The model; afterwards it is in the mode in which it was.
            x: Originals within the classifier's bounds, shape ``(N, *event_shape)``.
            goal: One wish per image, in the CPU's memory like all results.
            generator: For everything random. Default: seed 0.
            batch: Most images that pass through the model at once, with or without a gradient. Default:
                :func:`condgen.classifier.images_at_once`.

        Raises:
            ImageError: If images or labels do not fit the model.
            CondgenError: If the attack needs a gradient and the model gives none, or an argument is no classifier, no goal or
                no positive number.
        """
        check_classifier(classifier)
        check_images(x, classifier.density, classifier.bounds)
        check_goal(goal)
        goal.check(classifier.density.num_classes, len(x))
        batch = images_at_once(classifier.density) if batch is None else batch
        check_count("batch", batch)
        if not isinstance(generator, torch.Generator | None):
            raise CondgenError(
                f"generator is {generator!r}, expected torch.Generator().manual_seed(seed), or nothing."
            )
        generator = generator or torch.Generator().manual_seed(0)
        with torch.inference_mode(False), frozen(classifier):
            x = at_least_float32(x.detach().cpu())
            parts = torch.arange(len(x)).split(batch)
            return _joined(
                [
                    self._one_batch(Search(classifier, x[part], goal[part], batch), generator)
                    for part in parts
                ]
            )

    def _one_batch(self, search: Search, generator: torch.Generator) -> AttackResult:
        originals = search.x.clone()
        index = torch.nonzero(~search.reached(search.x, search.everyone)).flatten()
        reasons = self.perturb(search, index, generator) if len(index) else {}
        search.x = (
            originals  # distances are from these, whatever an author has written into the others
        )
        return _measure(search, reasons or {})  # an author may well forget to return any

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "__call__" in cls.__dict__:
            raise TypeError(
                f"{cls.__name__} must write perturb() and leave __call__ alone: it is what measures success."
            )


@contextmanager
def frozen(classifier: GenerativeClassifier) -> Iterator[None]:
    """Evaluation mode, and no gradients for parameters that nobody asks for."""
    trainable = [parameter for parameter in classifier.parameters() if parameter.requires_grad]
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        with evaluating(classifier):
            yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_()


def _joined(results: list[AttackResult]) -> AttackResult:
    """Those of several batches as one, in their order."""
    *tensors, statuses = zip(*(vars(result).values() for result in results), strict=True)
    joined: list[Any] = [*map(torch.cat, tensors), tuple(chain.from_iterable(statuses))]
    return AttackResult(*joined)


def _measure(search: Search, reasons: dict[int, str]) -> AttackResult:
    """Success is asked for anew, of each image alone, on what is handed out."""
    met = torch.isfinite(search.distance)
    quantized, stored = _stored(search, torch.nonzero(met).flatten())
    perturbed, now = _asked_anew(search, met)
    perturbed = torch.where(spread(now, perturbed), perturbed, search.x)
    moved = (perturbed - search.x).flatten(1)
    status = tuple(_status(search, i, bool(met[i]), bool(now[i]), reasons) for i in range(len(met)))
    return AttackResult(
        perturbed,
        quantized,
        now,
        stored & now,
        moved.norm(dim=1).masked_fill(~now, torch.inf),
        moved.abs().amax(1).masked_fill(~now, torch.inf),
        search.forward,
        search.backward,
        status,
    )


def _asked_anew(search: Search, met: Tensor) -> tuple[Tensor, Tensor]:
    """The images to hand out, and which of them reach their goal when each is asked about by itself.

    One on a boundary, which rounding has put on the other side, is moved toward the surest success. A model that
    answers the same question differently gets no second chance: success by luck would grow with each.
    """
    perturbed, now, everyone = (
        search.best.clone(),
        torch.zeros_like(met),
        torch.nonzero(met).flatten(),
    )
    first = _alone(search, perturbed[everyone], everyone)
    now[everyone] = reached(first)
    failed = torch.nonzero(~reached(first)).flatten()
    again = _alone(search, perturbed[everyone[failed]], everyone[failed])
    steady = torch.isclose(first[failed], again, rtol=0, atol=0, equal_nan=True).all(-1)
    left = everyone[failed[steady]]
    for share in INWARD:
        if not len(left):
            break
        perturbed[left] = search.best[left].lerp(search.surest[left], share)
        now[left] = reached(_alone(search, perturbed[left], left))
        left = left[~now[left]]
    return perturbed, now


def _alone(search: Search, images: Tensor, index: Tensor) -> Tensor:
    """The margins of each image asked about by itself, shape ``(n, K)``."""
    answers = [
        search.margins(one, i) for one, i in zip(images.split(1), index.split(1), strict=True)
    ]
    return torch.cat(answers) if len(index) else search.margins(images, index)


def _status(search: Search, image: int, met: bool, now: bool, reasons: dict[int, str]) -> str:
    if not met:
        return reasons.get(image, NOT_REACHED)
    if not now:
        return VANISHED
    return ALREADY if search.distance[image] == 0 else REACHED


def _stored(search: Search, met: Tensor) -> tuple[Tensor, Tensor]:
    """Images as stored, and whether they reach the goal: a point on the boundary may fall back, one further along does not."""
    levels, bounds, shift = (
        search.classifier.density.pixel_levels,
        search.bounds,
        search.best - search.x,
    )
    onward = (search.clip(search.x + stretch * shift) for stretch in STRETCHES)
    inward = (search.best.lerp(search.surest, share) for share in STRIDES)
    quantized, keeps = (
        round_to_levels(search.best, levels, bounds),
        torch.zeros(len(shift), dtype=torch.bool),
    )
    for images in chain(onward, inward):
        left = met[~keeps[met]]
        stored = round_to_levels(images[left], levels, bounds)
        good = search.reached(stored, left)
        quantized[left[good]], keeps[left[good]] = stored[good], True
        if levels is None:
            break
    kept = torch.nonzero(keeps).flatten()
    keeps[kept] = reached(_alone(search, quantized[kept], kept))
    return quantized, keeps


def round_to_levels(
    x: Tensor, levels: int | None, bounds: tuple[float, float] = (0.0, 1.0)
) -> Tensor:
    """Images as they come back from storage with so many values per pixel; ``None`` stores them as they are.

    >>> round_to_levels(torch.tensor([0.2, 0.4]), levels=3)
    tensor([0.0000, 0.5000])
    """
    if levels is None:
        return x
    low, step = bounds[0], (bounds[1] - bounds[0]) / (levels - 1)
    return (low + ((x - low) / step).round() * step).clamp(*bounds)


def within(attack: Attack, **limits: tuple[float, float]) -> None:
    """Refuse settings with which an attack would do nothing and look as if the model had resisted.

    Raises:
        CondgenError: If a setting is no number or outside of its limits.
    """
    for name, (low, high) in limits.items():
        value, whole = getattr(attack, name), math.isinf(high)
        if not (is_count(value, int(low)) if whole else is_number(value, low, high)):
            expected = f"{low:g} or more, a whole number" if whole else f"{low:g} to {high:g}"
            raise CondgenError(
                f"{type(attack).__name__} has {name} = {value!r}, expected {expected}."
            )
