"""One attack on one batch: queries the classifier, counts queries and keeps the best images."""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from condgen.attacks.goals import Goal, decided, reached
from condgen.classifier import GenerativeClassifier, images_at_once
from condgen.density import own_precision
from condgen.errors import CondgenError

Loss = Callable[[Tensor], Tensor]  # margins (n, K) -> (n,)


class Search:
    """The only access of an attack to the classifier.

    Every queried image that reaches its goal closer to the original than any before is kept. So no
    attack can lose its best image, and none has to track it.

    If the likelihood is that of quantized images (``density.discrete``), margins are those of the
    quantized candidates, and only these are kept. Gradients are those of the relaxation, at the
    candidates themselves.

    Args:
        classifier: In evaluation mode; its parameters are not trained here.
        x: Originals, shape ``(N, *event_shape)``.
        goal: The goal of each image.
        batch: Largest number of images in one pass of :meth:`margins`; :meth:`gradients` takes all
            its images in one pass. Default: :func:`condgen.classifier.images_at_once`.

    Attributes:
        best: Closest images that reached the goal, shape of ``x``; the original if there is none.
        distance: Their L2 distances, shape ``(N,)``; infinite if there is none.
        surest: Images that reached the goal by the widest margin, at any distance; the original if
            there is none.
        excess: Their largest margins, shape ``(N,)``; infinite if there is none.
        forward, backward: Passes per image, shape ``(N,)``, int64.
        discrete: Whether candidates are quantized before they are queried; attacks may set it.
        broken: Whether a gradient of the image had a non-finite entry, shape ``(N,)``, bool.
    """

    def __init__(
        self, classifier: GenerativeClassifier, x: Tensor, goal: Goal, batch: int | None = None
    ):
        self.classifier, self.x, self.goal = classifier, x, goal
        self.batch = images_at_once(classifier.density) if batch is None else batch
        self.bounds, self.discrete = classifier.bounds, classifier.density.discrete
        self.best, self.distance = x.clone(), x.new_full((len(x),), torch.inf)
        self.surest, self.excess = x.clone(), x.new_full((len(x),), torch.inf)
        self.conditions = 0  # margins per image, known after the first query
        self.forward = torch.zeros(len(x), dtype=torch.int64)
        self.backward = torch.zeros(len(x), dtype=torch.int64)
        self.broken = torch.zeros(len(x), dtype=torch.bool)

    @property
    def everyone(self) -> Tensor:
        """The index of all images."""
        return torch.arange(len(self.x))

    @property
    def diameter(self) -> float:
        """The largest L2 distance within the bounds."""
        low, high = self.bounds
        return (high - low) * math.sqrt(self.classifier.density.dims)

    @property
    def each_margin(self) -> list[Loss]:
        """One loss for each margin."""
        return [partial(torch.select, dim=1, index=k) for k in range(self.conditions)]

    def countable(self, images: Tensor) -> Tensor:
        """Candidates as they may be kept: quantized if the density is discrete."""
        return self.classifier.quantize(images) if self.discrete else images

    @torch.no_grad()
    def margins(self, perturbed: Tensor, index: Tensor) -> Tensor:
        """Margins of the goal, shape ``(n, K)``, for candidates of the images at ``index``.

        ``index`` may repeat.
        """
        if not len(index):
            return perturbed.new_zeros(0, self.conditions)
        perturbed = self.countable(perturbed)
        parts = zip(perturbed.split(self.batch), index.split(self.batch), strict=True)
        margins = torch.cat([self._query(images, part) for images, part in parts])
        self.conditions = margins.shape[-1]
        self._record(perturbed, index, margins)
        return margins

    def reached(self, perturbed: Tensor, index: Tensor) -> Tensor:
        """Which images reach the goal, shape ``(n,)``: the only query of decision-based attacks."""
        return reached(self.margins(perturbed, index))

    @torch.no_grad()
    def reaching(self, images: Tensor, index: Tensor) -> Tensor:
        """Which of M shared ``images`` reach the goal of each image at ``index``, shape ``(n, M)``.

        The model evaluates each of ``images`` once; this does not count as a query.
        """
        predictions = [self.classifier(part).cpu() for part in images.split(self.batch)]
        hits = []
        for one in index:
            margins = [
                self.goal[one.expand(len(part.class_log_prob))].margins(part)
                for part in predictions
            ]
            hits.append(reached(torch.cat(margins)))
        return torch.stack(hits)

    def gradients(self, perturbed: Tensor, index: Tensor, *losses: Loss) -> tuple[Tensor, ...]:
        """Margins, shape ``(n, K)``, and the gradient of each loss of them, in one forward pass.

        A gradient has the shape of ``perturbed``. Images are clipped to the bounds first.
        ``torch.no_grad()`` around the attack has no effect. A non-finite entry of a gradient gives
        no direction: it is returned as 0, and the image is marked in ``broken``.

        Raises:
            CondgenError: If the margins are not differentiable in the image.
        """
        with torch.enable_grad():
            return self._gradients(perturbed, index, *losses)

    def _gradients(self, perturbed: Tensor, index: Tensor, *losses: Loss) -> tuple[Tensor, ...]:
        # x + (clipped - x) may exceed a bound by rounding
        images = self.clip(perturbed.detach()).requires_grad_()
        margins = self._query(images, index)
        found = [
            _gradient(loss(margins), images, keep=number + 1 < len(losses))
            for number, loss in enumerate(losses)
        ]
        if all(gradient is None for gradient in found):
            raise CondgenError(
                "the model's output has no gradient in the image;"
                " use Boundary or HopSkipJump, which need none."
            )
        raw = [torch.zeros_like(images) if gradient is None else gradient for gradient in found]
        for gradient in raw:
            self.broken[index[~torch.isfinite(gradient).flatten(1).all(1)]] = True
        gradients = [gradient.nan_to_num(0.0, 0.0, 0.0) for gradient in raw]
        if self.discrete:
            margins = self.margins(images.detach(), index)
        else:
            self._record(images.detach(), index, margins.detach())
        self.backward.index_add_(0, index, torch.full_like(index, len(losses)))
        return margins.detach(), *gradients

    def _query(self, images: Tensor, index: Tensor) -> Tensor:
        """Margins in the images' precision, whatever the model's precision; differentiable."""
        margins = self.goal[index].margins(self.classifier(images).cpu())
        return (
            margins
            if margins.dtype == images.dtype
            else decided(margins.to(images.dtype), margins < 0)
        )

    def l2(self, perturbed: Tensor, index: Tensor) -> Tensor:
        """L2 distances from the originals, shape ``(n,)``."""
        distance: Tensor = (perturbed - self.x[index]).flatten(1).norm(dim=1)
        return distance

    def clip(self, perturbed: Tensor) -> Tensor:
        """Clip images to the model's bounds."""
        return perturbed.clamp(*self.bounds)

    def _record(self, perturbed: Tensor, index: Tensor, margins: Tensor) -> None:
        self.forward.index_add_(0, index, torch.ones_like(index))
        hit = reached(margins)
        if not hit.any():
            return
        images = perturbed.detach()
        values = self.l2(images, index), margins.amax(-1).to(self.excess)
        distance, excess = (value.masked_fill(~hit, torch.inf) for value in values)
        self.distance = _least(self.best, self.distance, images, index, distance)
        self.excess = _least(self.surest, self.excess, images, index, excess)


def _least(kept: Tensor, record: Tensor, images: Tensor, index: Tensor, value: Tensor) -> Tensor:
    """Replace ``kept`` by images with values below the records; return the new records."""
    lowest = record.scatter_reduce(0, index, value, "amin")
    better = torch.nonzero((value < record[index]) & (value == lowest[index])).flatten()
    kept[index[better]] = images[better]
    return lowest


def _gradient(loss: Tensor, images: Tensor, keep: bool) -> Tensor | None:
    """Gradient of the summed loss; ``None`` if it does not depend on the images."""
    if not loss.requires_grad:
        return None
    gradient: Tensor | None
    with own_precision(loss.device):  # autocast is for the forward pass
        (gradient,) = torch.autograd.grad(loss.sum(), images, retain_graph=keep, allow_unused=True)
    return gradient


def spread(values: Tensor, like: Tensor) -> Tensor:
    """Reshape one value per image, shape ``(n,)``, to broadcast over images."""
    return values.view(-1, *[1] * (like.ndim - 1))


def normed(vectors: Tensor) -> Tensor:
    """Scale to length 1 per image; zeros stay zeros."""
    length = vectors.flatten(1).norm(dim=1)
    return vectors / spread(length.clamp_min(torch.finfo(vectors.dtype).tiny), vectors)


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner product per image, shaped to broadcast over images."""
    return spread((a * b).flatten(1).sum(1), a)
