"""Generative classifier: a class-conditional density and Bayes' rule."""

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain

import torch
from torch import Tensor, nn

from condgen import processes
from condgen.density import ClassConditionalDensity, round_to_levels
from condgen.errors import CondgenError
from condgen.machine import PIECE
from condgen.prediction import Prediction, concatenate
from condgen.randomness import drawing_for
from condgen.validation import check_answer, check_count, check_images, check_model, check_tensor

BATCH = 256  # largest number of images in one pass
NUMBERS = 2**25  # limit of images x classes x dimensions in one pass; a model may hold several
COARSE = 0.1  # nats: larger rounding errors of log-likelihoods cause a warning


def check_classifier(classifier: object) -> None:
    """Refuse a density in place of a classifier.

    Raises:
        CondgenError: If it is not a :class:`GenerativeClassifier`, compiled or not.
    """
    if isinstance(classifier, type) or not hasattr(classifier, "density"):
        found = (
            f"the class {classifier.__name__}"
            if isinstance(classifier, type)
            else f"a {type(classifier).__name__}"
        )
        raise CondgenError(f"the classifier is {found}; give GenerativeClassifier(your model).")


class GenerativeClassifier(nn.Module):
    r"""Classify by :math:`p(y \mid x) \propto p(x \mid y)\, p(y)`.

    Images are quantized values divided by ``pixel_levels - 1``, in [0, 1]. They are scaled to the
    ``bounds`` of the density. If ``pixel_levels`` is ``None``, the data is continuous and already
    within these bounds.

    Args:
        density: The model of :math:`p(x \mid y)`.
        prior: :math:`p(y)`, shape ``(C,)``, positive with sum 1. Default: uniform.

    Raises:
        CondgenError: If ``density`` is not a density; on call, if its result does not have shape
            (N, C).
        ImageError: On call, if the images are not what the density expects.

    Examples:
        >>> from condgen.models.gaussian import DiagonalGaussian
        >>> classifier = GenerativeClassifier(DiagonalGaussian(torch.tensor([[0.2], [0.8]])))
        >>> classifier(torch.tensor([[0.1], [0.9]])).label
        tensor([0, 1])

    References:
        Sec. 4 and A.1.
    """

    log_prior: Tensor

    def __init__(self, density: ClassConditionalDensity, prior: Tensor | None = None):
        super().__init__()
        check_model(density)
        self.density, self._has_warned = density, False
        if prior is None:
            prior = torch.full((density.num_classes,), 1 / density.num_classes)
        if not isinstance(prior, Tensor):
            raise CondgenError(
                f"prior is a {type(prior).__name__}, expected a tensor of {density.num_classes}"
                " numbers."
            )
        exact = prior.detach().double()
        if (
            prior.shape != (density.num_classes,)
            or not (exact > 0).all()
            or not math.isclose(exact.sum(), 1, abs_tol=1e-5)
        ):
            raise CondgenError(
                f"prior is {prior.tolist()}, expected {density.num_classes} positive numbers that"
                " sum to 1."
            )
        # in float64; a prediction rounds it to the precision of its log-likelihoods
        self.register_buffer("log_prior", exact.log().to(self.device))

    @property
    def device(self) -> torch.device:
        """Device of the density's first parameter or buffer; images are moved there."""
        first = next(
            chain(self.density.parameters(), self.density.buffers()), self._buffers.get("log_prior")
        )
        return torch.device("cpu") if first is None else first.device

    @property
    def bounds(self) -> tuple[float, float]:
        """Interval of image values: [0, 1] if quantized, the density's bounds if continuous."""
        return self.density.bounds if self.density.pixel_levels is None else (0.0, 1.0)

    @property
    def class_prior(self) -> str | list[float]:
        """Prior in the format of the setting ``model.class_prior``: "uniform" or probabilities."""
        prior: list[float] = [
            float(f"{each:.7g}") for each in self.log_prior.double().exp().tolist()
        ]
        return "uniform" if max(prior) - min(prior) < 1e-6 else prior

    def quantize(self, x: Tensor) -> Tensor:
        """Round images to the levels of the density; continuous data is unchanged."""
        return round_to_levels(x, self.density.pixel_levels, self.bounds)

    def forward(self, x: Tensor) -> Prediction:
        check_images(x, self.density, self.bounds)
        result = self.density(self.for_density(x))
        if not isinstance(result, tuple):
            raise CondgenError(
                f"{type(self.density).__name__} overrides `forward`; rename it to `class_log_prob`."
            )
        class_log_prob, subspace_log_prob = result
        check_answer(class_log_prob, len(x), self.density)
        class_log_prob = self._at_least_float32(class_log_prob)
        if subspace_log_prob is not None:
            subspace_log_prob = self._at_least_float32(subspace_log_prob)
        return Prediction(
            class_log_prob,
            self.log_prior.to(class_log_prob),
            self.density.dims,
            subspace_log_prob,
            x,
        )

    def sample(
        self, label: Tensor, temperature: float = 1.0, *, generator: torch.Generator
    ) -> Tensor:
        """Draw an image for each label, scaled to the bounds of the classifier."""
        drawn, (low, high) = (
            self.density.sample(label, temperature, generator=generator),
            self.density.bounds,
        )
        return (
            drawn
            if self.bounds == (low, high)
            else ((drawn - low) / (high - low)).clamp(*self.bounds)
        )

    def for_density(self, x: Tensor) -> Tensor:
        """Copy images to the density's device, precision and bounds; the copy may be modified."""
        moved = self._in_its_precision(at_least_float32(x)).to(self.device)
        low, high = self.density.bounds
        if self.bounds != (low, high):
            # bounds rounded to the precision of the density
            limits = torch.tensor((low, high), dtype=moved.dtype).tolist()
            moved = torch.lerp(moved.new_tensor(low), moved.new_tensor(high), moved).clamp(*limits)
        return moved.clone() if moved is x else moved

    def _in_its_precision(self, x: Tensor) -> Tensor:
        """Convert ``x`` to a precision of the density's parameters, since products need one."""
        first = next(self.density.parameters(), x).dtype
        if first == x.dtype:
            return x
        dtypes = {
            parameter.dtype
            for parameter in self.density.parameters()
            if parameter.is_floating_point()
        }
        if not dtypes or x.dtype in dtypes:
            return x
        return x.to(max(dtypes, key=lambda dtype: dtype.itemsize))

    def _at_least_float32(self, log_prob: Tensor) -> Tensor:
        """Convert log-likelihoods to float32; warn once if rounding to 16 bits was coarse.

        Sums of nats in 16 bits lose the differences between classes and between images.
        """
        if (
            log_prob.dtype.itemsize < 4
            and not self._has_warned
            and (rounding := rounding_of(log_prob)) > COARSE
        ):
            self._has_warned = True
            warnings.warn(
                f"{type(self.density).__name__} returns {log_prob.dtype}, which rounds its"
                f" log-likelihoods by {rounding:.2g} nats; sum them in float32, or use"
                " model.float().",
                stacklevel=2,
            )
        return at_least_float32(log_prob)


def at_least_float32(x: Tensor) -> Tensor:
    """Convert ``x`` to float32 if it has fewer bits."""
    return x.float() if x.dtype.itemsize < 4 else x


def rounding_of(answer: Tensor) -> float:
    """Largest rounding step of log-likelihoods in their precision, in nats."""
    sizes = answer.detach().float().abs()
    largest = sizes[torch.isfinite(sizes)].amax().item() if torch.isfinite(sizes).any() else 0.0
    return largest * torch.finfo(answer.dtype).eps


def images_at_once(density: ClassConditionalDensity) -> int:
    """Batch size of a model: 256, or fewer if classes times dimensions are many."""
    most = max(1, NUMBERS // (density.num_classes * density.dims))
    return min(BATCH, most if most < 16 else most - most % 16)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Context in which a model is in evaluation mode; restores the mode of each module."""
    training = [module for module in model.modules() if module.training]
    if training:
        model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@torch.no_grad()
def predict(
    classifier: GenerativeClassifier, x: Tensor, batch: int | None = None, *, shared: bool = False
) -> Prediction:
    """Predict all images of ``x`` in evaluation mode; the :class:`Prediction` is on the CPU.

    Args:
        classifier: The model; its mode is restored.
        x: Images, shape ``(N, *event_shape)``.
        batch: Batch size. Default: :func:`images_at_once`.
        shared: Each of several processes predicts a part of each batch; all of them must call this.

    Raises:
        CondgenError: If ``classifier`` is not a classifier, or ``x`` or ``batch`` is invalid.
    """
    check_classifier(classifier)
    check_tensor(x, "images")
    batch = images_at_once(classifier.density) if batch is None else batch
    check_count("batch", batch)
    with evaluating(classifier):
        found = [part for rows in x.split(batch) for part in _in_parts(classifier, rows, shared)]
    return replace(concatenate(found), x=x.cpu())


def _in_parts(model: GenerativeClassifier, x: Tensor, shared: bool) -> Sequence[Prediction]:
    """The prediction of a batch; if processes share it, one part for each of them."""
    if not shared or processes.count() == 1:
        return [model(x).cpu()]
    rows = processes.rows_of(len(x), PIECE)
    with drawing_for(rows):
        own = replace(model(x[rows.index]).cpu(), x=None)
    return processes.gather_rows(own, len(x))
