"""What an attack wants, as a value: reached where every margin is negative."""

import math
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor

from condgen.classifier import Prediction
from condgen.detectors import Detector, score
from condgen.detectors.base import check_detector, rejected, scale_of
from condgen.errors import CondgenError
from condgen.validation import check_labels, check_tensor, is_number


class Goal(Protocol):
    """One wish per image. Loss, search and report all ask :func:`reached`, so none can disagree about what success is."""

    def margins(self, prediction: Prediction) -> Tensor:
        """How far each condition is from being met, shape ``(N, K)``; met where negative. Differentiable.

        Where a condition is met at equality, as a detector's is, :func:`decided` gives the margin its sign.
        """
        ...

    def check(self, num_classes: int, number: int) -> None:
        """Refuse labels that do not fit ``number`` images of ``num_classes`` classes."""
        ...

    def __getitem__(self, index: Tensor) -> Self:
        """The goals of the images at ``index``."""
        ...


def check_goal(goal: object) -> None:
    """Refuse what is no goal, labels above all.

    Raises:
        CondgenError: If it has no ``margins``, or is a class.
    """
    if isinstance(goal, type) or not hasattr(goal, "margins"):
        found = (
            f"the class {goal.__name__}" if isinstance(goal, type) else f"a {type(goal).__name__}"
        )
        raise CondgenError(
            f"the goal is {found}; give Misclassify(label), Target(target, label) or Evade(goal, detector)."
        )


def reached(margins: Tensor) -> Tensor:
    """The rule of success, shape ``(N, K)`` to ``(N,)``. A NaN reaches nothing."""
    return (margins < 0).all(-1)


def decided(margin: Tensor, met: Tensor) -> Tensor:
    """``margin``, negative exactly where ``met``: at equality, or after rounding, its own sign says something else.

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
        >>> prediction = Prediction(torch.tensor([[-900.0, -905.0, -907.0]]), torch.zeros(3), dims=64)
        >>> Misclassify(torch.tensor([0])).margins(prediction)
        tensor([[5.]])
    """

    label: Tensor

    def margins(self, prediction: Prediction) -> Tensor:
        own, best_other = _own_and_best_other(prediction, self.label)
        return _won(own - best_other, (prediction.label != self.label)[:, None])

    def check(self, num_classes: int, number: int) -> None:
        _check(self.label, num_classes, number)

    def __getitem__(self, index: Tensor) -> Self:
        return type(self)(self.label[index])


@dataclass(frozen=True)
class Target:
    r"""One wrong class: :math:`\max_{j \ne t} \log p(x, j) - \log p(x, t) < 0`.

    Args:
        target: The classes to be taken for, shape ``(N,)``.
        label: The true classes, shape ``(N,)``.

    Raises:
        CondgenError: If a target is the true class, or they are no tensors of one shape.
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
                f"image {image}: target {int(self.target[image])} is its true label; choose another class."
            )

    def margins(self, prediction: Prediction) -> Tensor:
        own, best_other = _own_and_best_other(prediction, self.target)
        return _won(best_other - own, (prediction.label == self.target)[:, None])

    def check(self, num_classes: int, number: int) -> None:
        _check(self.label, num_classes, number)
        _check(self.target, num_classes, number)

    def __getitem__(self, index: Tensor) -> Self:
        return type(self)(self.target[index], self.label[index])


@dataclass(frozen=True)
class Evade:
    r"""Another goal, unseen by a detector: the extra loss term of Sec. 4.3 as one more margin.

    Args:
        goal: What else is wanted.
        detector: Must not flag the image.
        weight: Of the detector's margin, weight * (score - threshold). Default: the detector's own scale, which turns
            its unit into nats, like the other margins.
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
    """``log p(x, y)`` of the class and of the best other one, each ``(N, 1)``; a mask of 0 would win over log-likelihoods."""
    log_joint, own = prediction.log_joint, label[:, None].long()
    return log_joint.gather(-1, own), log_joint.scatter(-1, own, -math.inf).amax(-1, keepdim=True)


def _won(margin: Tensor, wins: Tensor) -> Tensor:
    """Between equally likely classes the classifier's choice decides; a margin that is no number is not met."""
    return decided(margin, (margin < 0) | ((margin == 0) & wins))


def _check(label: Tensor, num_classes: int, number: int) -> None:
    check_labels(label, num_classes)
    if len(label) != number:
        raise CondgenError(f"{len(label)} labels for {number} images; give one for each image.")
