"""The base class of attacks: it checks the arguments, runs the search and has success measured."""

import abc
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, final

import torch
from torch import Tensor

from condgen.attacks.goals import Goal, check_goal
from condgen.attacks.measurement import measure
from condgen.attacks.result import AttackResult, concatenate
from condgen.attacks.search import Search
from condgen.classifier import (
    GenerativeClassifier,
    at_least_float32,
    check_classifier,
    evaluating,
    images_at_once,
)
from condgen.errors import CondgenError
from condgen.validation import check_count, check_images, is_count, is_number

COUNT, SHARE, POSITIVE = (1, math.inf), (0.0, 1.0), (1e-6, 1.0)  # limits of settings


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

    def passes(self) -> tuple[int, int]:
        """Largest number of queries, and of queries with a gradient, per image.

        An audit uses it to estimate its time; zeros if the attack does not say.
        """
        return 0, 0

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
            return concatenate(
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
        return measure(search, reasons or {})  # perturb() may have returned None

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
