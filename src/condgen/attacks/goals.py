"""Goals of attacks: a goal is reached if every margin is negative."""

import math
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor

from condgen.detectors import Detector, score
from condgen.detectors.base import check_detector, rejected, scale_of
from condgen.errors import CondgenError
from condgen.prediction import Prediction
from condgen.validation import check_labels, check_tensor, is_number


class Goal(Protocol):
    """The adversarial criterion of each image.

    Loss, search and report all use :func:`reached`, so success is defined once.
    """

    def margins(self, prediction: Prediction) -> Tensor:
        """Margin of each condition, shape ``(N, K)``; met if negative. Differentiable.

        If a condition is met at equality, like a detector's, :func:`decided` sets the sign of the
        margin.
        """
        ...

    def check(self, num_classes: int, number: int) -> None:
        """Check that the labels fit ``number`` images of ``num_classes`` classes."""
        ...

    def __getitem__(self, index: Tensor) -> Self:
        """Return the goals of the images at ``index``."""
        ...


def check_goal(goal: object) -> None:
    """Check that an argument is a goal; labels are a common mistake.

    Raises:
        CondgenError: If it has no ``margins``, or is a class.
    """
    if isinstance(goal, type) or not hasattr(goal, "margins"):
        found = (
            f"the class {goal.__name__}" if isinstance(goal, type) else f"a {type(goal).__name__}"
        )
        raise CondgenError(
            f"the goal is {found}; give Misclassify(label), Target(target, label)"
            " or Evade(goal, detector)."
        )


def reached(margins: Tensor) -> Tensor:
    """Whether all margins are negative, shape ``(N, K)`` to ``(N,)``. NaN is not reached."""
    return (margins < 0).all(-1)


def decided(margin: Tensor, met: Tensor) -> Tensor:
    """Return ``margin``, negative exactly if ``met``, also at equality or after rounding.

    It keeps its gradient.

    >>> decided(torch.tensor([0.0, 0.0, 2.0]), torch.tensor([True, False, False])) < 0
    tensor([ True, False, False])
    """
    least = torch.zeros_like(margin).masked_fill(met, -torch.finfo(margin.dtype).tiny)
    moved = least + (margin - margin.detach()).nan_to_num()
    return torch.where((margin < 0) == met, margin, moved)


@dataclass(frozen=True)
class Misclassify:
    r"""Any class but the true one: :math:`\log p(x, y) - \max_{j \ne y} \log p(x, j) < 0`.

    Args:
        label: The true classes, shape ``(N,)``.

    Examples:
        >>> log_prob = torch.tensor([[-900.0, -905.0, -907.0]])
        >>> prediction = Prediction(log_prob, torch.zeros(3), dims=64)
        >>> Misclassify(torch.tensor([0])).margins(prediction)
        tensor([[5.]])
    """

    label: Tensor

    def margins(self, prediction: Prediction) -> Tensor:
        own, best_other = _own_and_best_other(prediction, self.label)
        return _break_ties(own - best_other, (prediction.label != self.label)[:, None])

    def check(self, num_classes: int, number: int) -> None:
        _check(self.label, num_classes, number)

    def __getitem__(self, index: Tensor) -> Self:
        return type(self)(self.label[index])


@dataclass(frozen=True)
class Target:
    r"""One wrong class: :math:`\max_{j \ne t} \log p(x, j) - \log p(x, t) < 0`.

    Args:
        target: The target classes, shape ``(N,)``.
        label: The true classes, shape ``(N,)``.

    Raises:
        CondgenError: If a target is the true class, or they are not tensors of one shape.
    """

    target: Tensor
    label: Tensor

    def __post_init__(self) -> None:
        check_tensor(self.target, "targets")
        check_tensor(self.label, "labels")
        if self.target.shape != self.label.shape:
            raise CondgenError(
                f"{len(self.target)} targets for {len(self.label)} labels; give one for each image."
            )
        same = torch.nonzero(self.target == self.label).flatten()
        if len(same):
            image = int(same[0])
            raise CondgenError(
                f"image {image}: target {int(self.target[image])} is its true label;"
                " choose another class."
            )

    def margins(self, prediction: Prediction) -> Tensor:
        own, best_other = _own_and_best_other(prediction, self.target)
        return _break_ties(best_other - own, (prediction.label == self.target)[:, None])

    def check(self, num_classes: int, number: int) -> None:
        _check(self.label, num_classes, number)
        _check(self.target, num_classes, number)

    def __getitem__(self, index: Tensor) -> Self:
        return type(self)(self.target[index], self.label[index])


@dataclass(frozen=True)
class Evade:
    r"""Another goal, undetected: the extra loss term of Sec. 4.3 as one more margin.

    Args:
        goal: The other goal.
        detector: Must not flag the image.
        weight: Weight of the detector's margin, weight * (score - threshold). Default: the
            detector's own scale, which converts its unit to nats, the unit of the other margins.
    """

    goal: Goal
    detector: Detector
    weight: float | None = None

    def __post_init__(self) -> None:
        check_goal(self.goal)
        check_detector(self.detector)
        if self.weight is not None and not (is_number(self.weight) and self.weight > 0):
            raise CondgenError(f"weight is {self.weight!r}, expected a positive number.")

    def margins(self, prediction: Prediction) -> Tensor:
        weight = scale_of(self.detector, prediction.dims) if self.weight is None else self.weight
        scores, threshold = score(self.detector, prediction), self.detector.threshold
        excess = decided(weight * (scores - threshold), ~rejected(scores, threshold))
        return torch.cat([self.goal.margins(prediction), excess[:, None]], dim=-1)

    def check(self, num_classes: int, number: int) -> None:
        self.goal.check(num_classes, number)

    def __getitem__(self, index: Tensor) -> Self:
        return type(self)(self.goal[index], self.detector, self.weight)


def _own_and_best_other(prediction: Prediction, label: Tensor) -> tuple[Tensor, Tensor]:
    """``log p(x, y)`` of the class and of the best other class, each ``(N, 1)``.

    The mask is minus infinity, because a mask of 0 would exceed log-likelihoods.
    """
    log_joint, own = prediction.log_joint, label[:, None].long()
    return log_joint.gather(-1, own), log_joint.scatter(-1, own, -math.inf).amax(-1, keepdim=True)


def _break_ties(margin: Tensor, wins: Tensor) -> Tensor:
    """Let the classifier's choice decide between equally likely classes; NaN is not met."""
    return decided(margin, (margin < 0) | ((margin == 0) & wins))


def _check(label: Tensor, num_classes: int, number: int) -> None:
    check_labels(label, num_classes)
    if len(label) != number:
        raise CondgenError(f"{len(label)} labels for {number} images; give one for each image.")
