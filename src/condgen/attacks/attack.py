"""An attack is one method; the base class asks, checks, counts and reports."""

import abc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from condgen.attacks.goals import Goal
from condgen.attacks.search import Search, spread
from condgen.classifier import GenerativeClassifier
from condgen.density import check_images

REACHED, NOT_REACHED = "reached", "not reached"
ALREADY = "reached by the original"
NO_START = "no start image reaches the goal"
NO_GRADIENT = "the gradient at the original is zero"
VANISHED = "reached, but not when asked again"

STRETCHES = (1.0, 1.002, 1.005, 1.01, 1.02, 1.03)  # of the perturbation, so that storing it does not fall back
LONGER = (1.1, 1.25, 1.5, 2.0, 3.0, 5.0)  # where the data's levels are coarser than that


@dataclass(frozen=True)
class AttackResult:
    """What an attack found; every field has one entry per image.

    Args:
        perturbed: Images within the model's bounds, shape ``(N, *event_shape)``; the original where the goal was not reached.
        rounded: ``perturbed`` as stored, rounded to the data's levels; where the goal is lost by that, the first image further
            along the line that keeps it. Equal to ``perturbed`` for continuous data.
        reached: Whether ``perturbed`` reaches the goal, asked anew after the search, shape ``(N,)``.
        reached_rounded: The same for ``rounded``.
        l2, linf: Distances of ``perturbed`` from the original, shape ``(N,)``; infinite where the goal was not reached.
        forward, backward: Passes through the model spent on the image, shape ``(N,)``.
        status: Why it ended, in words, one per image.
    """

    perturbed: Tensor
    rounded: Tensor
    reached: Tensor
    reached_rounded: Tensor
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
        self, classifier: GenerativeClassifier, x: Tensor, goal: Goal, *, generator: torch.Generator | None = None
    ) -> AttackResult:
        """Attack every image of a batch.

        Args:
            classifier: The model, put into evaluation mode.
            x: Originals within the model's bounds, shape ``(N, *event_shape)``.
            goal: One wish per image.
            generator: For everything random. Default: seed 0.

        Raises:
            ImageError: If images or labels do not fit the model.
            CondgenError: If the attack needs a gradient and the model gives none.
        """
        check_images(x, classifier.density)
        goal.check(classifier.density.num_classes, len(x))
        with _frozen(classifier):
            search = Search(classifier, x.detach(), goal)
            index = torch.nonzero(~search.reached(search.x, search.everyone)).flatten()
            reasons = self.perturb(search, index, generator or torch.Generator().manual_seed(0)) if len(index) else {}
            return _measure(search, reasons)

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "__call__" in cls.__dict__:
            raise TypeError(f"{cls.__name__} must write perturb() and leave __call__ alone: it is what measures success.")


@contextmanager
def _frozen(classifier: GenerativeClassifier) -> Iterator[None]:
    """Evaluation mode, and no gradients for parameters that nobody asks for."""
    trainable = [parameter for parameter in classifier.parameters() if parameter.requires_grad]
    was_training = classifier.training
    classifier.eval()
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_()
        classifier.train(was_training)


def _measure(search: Search, reasons: dict[int, str]) -> AttackResult:
    """Success is asked for anew, on the images that are handed out."""
    met = torch.isfinite(search.distance)
    perturbed, rounded, reached_rounded = _rounded(search, torch.nonzero(met).flatten())
    now = search.reached(perturbed, search.everyone)
    perturbed = torch.where(spread(now, perturbed), perturbed, search.x)
    shift = (perturbed - search.x).flatten(1)
    status = tuple(_status(search, i, bool(met[i]), bool(now[i]), reasons) for i in range(len(met)))
    return AttackResult(
        perturbed,
        rounded,
        now,
        reached_rounded & now,
        shift.norm(dim=1).masked_fill(~now, torch.inf),
        shift.abs().amax(1).masked_fill(~now, torch.inf),
        search.forward,
        search.backward,
        status,
    )


def _status(search: Search, image: int, met: bool, now: bool, reasons: dict[int, str]) -> str:
    if not met:
        return reasons.get(image, NOT_REACHED)
    if not now:
        return VANISHED
    return ALREADY if search.distance[image] == 0 else REACHED


def _rounded(search: Search, met: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The best images, images as stored, and whether those reach the goal too.

    A point on the boundary may fall back when it is stored; a little further along the same line one often does not.
    """
    levels = search.classifier.density.pixel_levels
    shift, perturbed = search.best - search.x, search.best.clone()
    rounded, survives = round_to_levels(perturbed, levels), torch.zeros(len(shift), dtype=torch.bool)
    if levels is None:
        return perturbed, rounded, torch.isfinite(search.distance)
    for stretch in (*STRETCHES, *LONGER):
        left = met[~survives[met]]
        further = search.clip(search.x[left] + stretch * shift[left]) if stretch > 1 else perturbed[left]
        stored = round_to_levels(further, levels)
        good = search.reached(stored, left)
        if stretch in STRETCHES:
            good &= search.reached(further, left)
            perturbed[left[good]] = further[good]
        rounded[left[good]], survives[left[good]] = stored[good], True
    return perturbed, rounded, survives


def round_to_levels(x: Tensor, levels: int | None) -> Tensor:
    """Images in [0, 1] as they come back from storage with so many values per pixel; ``None`` stores them as they are."""
    return x if levels is None else (x * (levels - 1)).round() / (levels - 1)
