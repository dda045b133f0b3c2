"""The base class of attacks: it runs the search, verifies each success and measures the result."""

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
VANISHED = "reached, but not when evaluated again"

COUNT, SHARE, POSITIVE = (1, math.inf), (0.0, 1.0), (1e-6, 1.0)  # limits of settings

# Shares of the line to the surest success, for a success that is lost outside of its batch.
INWARD = (1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 1.0)
# Factors of the perturbation, until the quantized image reaches the goal.
STRETCHES = (1.0, 1.002, 1.005, 1.01, 1.02, 1.03, 1.05, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0)
# Shares of the line to the surest success, tried next: further out a detector may flag the image.
STRIDES = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0)


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


class Attack(abc.ABC):
    """Base class of attacks: subclass it and implement :meth:`perturb`.

    Calling the attack checks the arguments and measures success.

    Examples:
        >>> from condgen import DiagonalGaussian
        >>> from condgen.attacks import CarliniWagner, Misclassify
        >>> mean = torch.tensor([[0.2, 0.5], [0.8, 0.5]])
        >>> classifier = GenerativeClassifier(DiagonalGaussian(mean))
        >>> x, goal = torch.tensor([[0.3, 0.5]]), Misclassify(torch.tensor([0]))
        >>> result = CarliniWagner()(classifier, x, goal)
        >>> result.status, round(result.l2.item(), 2)
        (('reached',), 0.2)
    """

    needs_gradient: ClassVar[bool] = True

    @abc.abstractmethod
    def perturb(self, search: Search, index: Tensor, generator: torch.Generator) -> dict[int, str]:
        """Query ``search`` with images; it keeps the best.

        Args:
            search: The originals, the goal, and the only access to the classifier.
            index: The images to attack, shape ``(n,)``; all other originals reach their goal
                already.
            generator: For all random numbers.

        Returns:
            The reason for each image that could not be attacked; usually empty.
        """

    def doubled(self) -> "Attack | None":
        """Return the attack with twice the budget, or ``None`` if it has no such setting.

        An audit uses it to test convergence.
        """
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
            classifier: The model; its mode (training or evaluation) is restored afterwards.
            x: Originals within the classifier's bounds, shape ``(N, *event_shape)``.
            goal: The goal of each image, on the CPU like all results.
            generator: For all random numbers. Default: seed 0.
            batch: Largest number of images in one pass through the model, with or without a
                gradient. Default: :func:`condgen.classifier.images_at_once`.

        Raises:
            ImageError: If images or labels do not fit the model.
            CondgenError: If the attack needs a gradient and the model has none, or an argument is
                not a classifier, a goal or a positive number.
        """
        check_classifier(classifier)
        check_images(x, classifier.density, classifier.bounds)
        check_goal(goal)
        goal.check(classifier.density.num_classes, len(x))
        batch = images_at_once(classifier.density) if batch is None else batch
        check_count("batch", batch)
        if not isinstance(generator, torch.Generator | None):
            raise CondgenError(
                f"generator is {generator!r}, expected torch.Generator().manual_seed(seed) or None."
            )
        generator = generator or torch.Generator().manual_seed(0)
        with torch.inference_mode(False), frozen(classifier):
            x = at_least_float32(x.detach().cpu())
            parts = torch.arange(len(x)).split(batch)
            return _concatenate(
                [
                    self._one_batch(Search(classifier, x[part], goal[part], batch), generator)
                    for part in parts
                ]
            )

    def _one_batch(self, search: Search, generator: torch.Generator) -> AttackResult:
        originals = search.x.clone()
        index = torch.nonzero(~search.reached(search.x, search.everyone)).flatten()
        reasons = self.perturb(search, index, generator) if len(index) else {}
        search.x = originals  # perturb() may have changed search.x
        return _measure(search, reasons or {})  # perturb() may have returned None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "__call__" in cls.__dict__:
            raise TypeError(
                f"{cls.__name__} must implement perturb() and must not override __call__,"
                " which measures success."
            )


@contextmanager
def frozen(classifier: GenerativeClassifier) -> Iterator[None]:
    """Within this context: evaluation mode, and no gradients of parameters."""
    trainable = [parameter for parameter in classifier.parameters() if parameter.requires_grad]
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        with evaluating(classifier):
            yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_()


def _concatenate(results: list[AttackResult]) -> AttackResult:
    """Concatenate the results of several batches."""
    *tensors, statuses = zip(*(vars(result).values() for result in results), strict=True)
    joined: list[Any] = [*map(torch.cat, tensors), tuple(chain.from_iterable(statuses))]
    return AttackResult(*joined)


def _measure(search: Search, reasons: dict[int, str]) -> AttackResult:
    """Verify success on the returned images, one image at a time, and measure distances."""
    met = torch.isfinite(search.distance)
    quantized, stored = _quantize(search, torch.nonzero(met).flatten())
    perturbed, now = _verify(search, met)
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


def _verify(search: Search, met: Tensor) -> tuple[Tensor, Tensor]:
    """The images to return, and which of them reach their goal when evaluated one by one.

    Rounding may put an image on the wrong side of a boundary; it is moved toward the surest
    success. A model that answers the same query differently gets no second try: each try would add
    successes by luck.
    """
    perturbed, now, everyone = (
        search.best.clone(),
        torch.zeros_like(met),
        torch.nonzero(met).flatten(),
    )
    first = _margins_one_by_one(search, perturbed[everyone], everyone)
    now[everyone] = reached(first)
    failed = torch.nonzero(~reached(first)).flatten()
    again = _margins_one_by_one(search, perturbed[everyone[failed]], everyone[failed])
    steady = torch.isclose(first[failed], again, rtol=0, atol=0, equal_nan=True).all(-1)
    left = everyone[failed[steady]]
    for share in INWARD:
        if not len(left):
            break
        perturbed[left] = search.best[left].lerp(search.surest[left], share)
        now[left] = reached(_margins_one_by_one(search, perturbed[left], left))
        left = left[~now[left]]
    return perturbed, now


def _margins_one_by_one(search: Search, images: Tensor, index: Tensor) -> Tensor:
    """Margins of each image, evaluated in a batch of its own, shape ``(n, K)``."""
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


def _quantize(search: Search, met: Tensor) -> tuple[Tensor, Tensor]:
    """Quantized images, and whether they reach the goal.

    Quantizing a point on the boundary may lose the goal; a point further along keeps it.
    """
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
    keeps[kept] = reached(_margins_one_by_one(search, quantized[kept], kept))
    return quantized, keeps


def round_to_levels(
    x: Tensor, levels: int | None, bounds: tuple[float, float] = (0.0, 1.0)
) -> Tensor:
    """Round images to ``levels`` values per pixel; ``None`` returns them unchanged.

    >>> round_to_levels(torch.tensor([0.2, 0.4]), levels=3)
    tensor([0.0000, 0.5000])
    """
    if levels is None:
        return x
    low, step = bounds[0], (bounds[1] - bounds[0]) / (levels - 1)
    return (low + ((x - low) / step).round() * step).clamp(*bounds)


def within(attack: Attack, **limits: tuple[float, float]) -> None:
    """Check that the settings of an attack are within their limits.

    Outside of them an attack may do nothing, so that the model seems robust.

    Raises:
        CondgenError: If a setting is not a number or outside of its limits.
    """
    for name, (low, high) in limits.items():
        value, whole = getattr(attack, name), math.isinf(high)
        if not (is_count(value, int(low)) if whole else is_number(value, low, high)):
            expected = f"{low:g} or more, a whole number" if whole else f"{low:g} to {high:g}"
            raise CondgenError(
                f"{type(attack).__name__} has {name} = {value!r}, expected {expected}."
            )
