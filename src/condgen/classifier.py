"""Bayes' rule: a class-conditional density as a classifier."""

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor, nn

from condgen.density import ClassConditionalDensity
from condgen.errors import CondgenError, ConfigError
from condgen.validation import check_answer, check_count, check_images, check_model, check_tensor

BATCH = 256  # most images in one pass through the model
NUMBERS = (
    2**25
)  # most of images x classes x dimensions in one pass, as a model may hold several arrays of them
COARSE = 0.1  # nats: the rounding of an answer that a user is warned of


def check_classifier(classifier: object) -> None:
    """Refuse a bare model.

    Raises:
        CondgenError: If it is no :class:`GenerativeClassifier`, nor a compiled one.
    """
    if isinstance(classifier, type) or not hasattr(classifier, "density"):
        found = (
            f"the class {classifier.__name__}"
            if isinstance(classifier, type)
            else f"a {type(classifier).__name__}"
        )
        raise CondgenError(f"the classifier is {found}; give GenerativeClassifier(your model).")


@dataclass(frozen=True)
class Prediction:
    """What Bayes' rule makes of the class log-likelihoods; every field has shape ``(N, ...)``."""

    class_log_prob: Tensor  # (N, C), nats
    log_prior: Tensor  # (C,), nats
    dims: int
    subspace_log_prob: Tensor | None = (
        None  # (N, C), nats: log p(z_s | y), where the model has a class subspace
    )
    x: Tensor | None = None  # the images, (N, *event_shape): some detectors look at them

    @property
    def log_joint(self) -> Tensor:
        r""":math:`\log p(x, y) = \log p(x \mid y) + \log p(y)`, shape ``(N, C)``."""
        return self.class_log_prob + self.log_prior

    @property
    def log_marginal(self) -> Tensor:
        r""":math:`\log p(x) = \log \sum_y p(x, y)`, shape ``(N,)``."""
        return self.log_joint.logsumexp(-1)

    @property
    def log_posterior(self) -> Tensor:
        r""":math:`\log p(y \mid x)`, shape ``(N, C)``; the prior where no class can have made the image."""
        log_joint = self.log_joint
        possible = log_joint.amax(-1, keepdim=True) != -math.inf
        return torch.where(possible, log_joint, self.log_prior).log_softmax(-1)

    @property
    def label(self) -> Tensor:
        """The likeliest class, shape ``(N,)``; of equally likely ones the first."""
        return self.log_joint.argmax(-1)

    @property
    def bits_per_dim(self) -> Tensor:
        r""":math:`-\log_2 p(x) / D`, shape ``(N,)``."""
        return -self.log_marginal / (self.dims * math.log(2))

    @property
    def class_bits_per_dim(self) -> Tensor:
        r""":math:`-\log_2 p(x \mid y) / D`, shape ``(N, C)``."""
        return -self.class_log_prob / (self.dims * math.log(2))

    def cpu(self) -> "Prediction":
        """The same in the CPU's memory, where goals, attacks and audits work."""
        subspace, x = (
            None if part is None else part.cpu() for part in (self.subspace_log_prob, self.x)
        )
        return Prediction(self.class_log_prob.cpu(), self.log_prior.cpu(), self.dims, subspace, x)


class GenerativeClassifier(nn.Module):
    r"""Classifies by :math:`p(y \mid x) \propto p(x \mid y)\, p(y)`.

    Images are stored values divided by ``pixel_levels - 1``, in [0, 1]; a density with other ``bounds`` gets them scaled
    to these. Where ``pixel_levels`` is ``None``, the data is continuous and already within the density's bounds.

    Args:
        density: The model of :math:`p(x \mid y)`.
        prior: :math:`p(y)`, shape ``(C,)``, positive and summing to 1. Default: uniform.

    Raises:
        CondgenError: If the density is none; on call, if its answer has another shape than (N, C).
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
                f"prior is a {type(prior).__name__}, expected a tensor of {density.num_classes} numbers."
            )
        exact = prior.detach().double()
        if (
            prior.shape != (density.num_classes,)
            or not (exact > 0).all()
            or not math.isclose(exact.sum(), 1, abs_tol=1e-5)
        ):
            raise CondgenError(
                f"prior {prior.tolist()} is not {density.num_classes} positive numbers that sum to 1."
            )
        self.register_buffer(
            "log_prior", exact.log().to(self.device)
        )  # exact: an answer rounds it to its own precision

    @property
    def device(self) -> torch.device:
        """Where the density's first parameter or buffer lives; images from elsewhere are moved there."""
        held = next(
            chain(self.density.parameters(), self.density.buffers()), self._buffers.get("log_prior")
        )
        return torch.device("cpu") if held is None else held.device

    @property
    def bounds(self) -> tuple[float, float]:
        """The interval of the values that images hold here: [0, 1] for stored ones, the density's for continuous data."""
        return self.density.bounds if self.density.pixel_levels is None else (0.0, 1.0)

    @property
    def class_prior(self) -> str | list[float]:
        """The prior as the setting ``model.class_prior`` has it: "uniform", or the probability of each class."""
        prior: list[float] = [
            float(f"{each:.7g}") for each in self.log_prior.double().exp().tolist()
        ]
        return "uniform" if max(prior) - min(prior) < 1e-6 else prior

    def forward(self, x: Tensor) -> Prediction:
        check_images(x, self.density, self.bounds)
        answer = self.density(self.for_density(x))
        if not isinstance(answer, tuple):
            raise CondgenError(
                f"{type(self.density).__name__} has a `forward` of its own; name it `class_log_prob`."
            )
        class_log_prob, subspace_log_prob = answer
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
        """One image of each label as the classifier takes them, whatever bounds the density has."""
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
        """The images on the density's device, in its precision and bounds; in memory of its own, which it may write to."""
        moved = self._in_its_precision(at_least_float32(x)).to(self.device)
        low, high = self.density.bounds
        if self.bounds != (low, high):
            limits = torch.tensor(
                (low, high), dtype=moved.dtype
            ).tolist()  # as that precision rounds them
            moved = torch.lerp(moved.new_tensor(low), moved.new_tensor(high), moved).clamp(*limits)
        return moved.clone() if moved is x else moved

    def _in_its_precision(self, x: Tensor) -> Tensor:
        """In a precision that its parameters have, which is the only one that they can be multiplied with."""
        first = next(self.density.parameters(), x).dtype
        if first == x.dtype:
            return x
        found = {
            parameter.dtype
            for parameter in self.density.parameters()
            if parameter.is_floating_point()
        }
        return (
            x
            if not found or x.dtype in found
            else x.to(max(found, key=lambda dtype: dtype.itemsize))
        )

    def _at_least_float32(self, answer: Tensor) -> Tensor:
        """Sums of nats in 16 bits lose what classes and images differ by: what is left of them is widened, and said."""
        if (
            answer.dtype.itemsize < 4
            and not self._has_warned
            and (rounding := rounding_of(answer)) > COARSE
        ):
            self._has_warned = True
            warnings.warn(
                f"{type(self.density).__name__} answers in {answer.dtype}, which rounds its log-likelihoods by"
                f" {rounding:.2g} nats; sum them in float32, or use model.float().",
                stacklevel=2,
            )
        return at_least_float32(answer)


def at_least_float32(x: Tensor) -> Tensor:
    """``x``, in float32 where it has fewer bits."""
    return x.float() if x.dtype.itemsize < 4 else x


def rounding_of(answer: Tensor) -> float:
    """The largest distance between neighbouring numbers of that precision, in nats, at the sizes of an answer."""
    sizes = answer.detach().float().abs()
    largest = sizes[torch.isfinite(sizes)].amax().item() if torch.isfinite(sizes).any() else 0.0
    return largest * torch.finfo(answer.dtype).eps


def class_prior(setting: str | Sequence[float], counts: Sequence[int]) -> Tensor | None:
    """The class prior that ``model.class_prior`` describes; ``None`` for a uniform one.

    Args:
        setting: "uniform", "counts", or the probability of each class.
        counts: Training images of each class.

    Raises:
        ConfigError: If classes are without a training image, or the probabilities are none.

    Examples:
        >>> class_prior("counts", [3, 1])
        tensor([0.7500, 0.2500], dtype=torch.float64)
    """
    if setting == "uniform":
        return None
    if setting == "counts":
        empty = [str(y) for y, count in enumerate(counts) if count == 0]
        if empty or not counts:
            found = (
                f"class {', '.join(empty)} has no training image"
                if empty
                else "the numbers of training images are not noted"
            )
            raise ConfigError(
                f"model.class_prior is 'counts', but {found}; use 'uniform', or a list of probabilities."
            )
        setting = [count / sum(counts) for count in counts]
    prior = torch.tensor([float(each) for each in setting], dtype=torch.float64)
    if (
        not (prior > 0).all()
        or not math.isclose(prior.sum(), 1, abs_tol=1e-5)
        or (counts and len(prior) != len(counts))
    ):
        expected = f"{len(counts)} positive numbers" if counts else "positive numbers"
        raise ConfigError(
            f"model.class_prior is {prior.tolist()}, expected 'uniform', 'counts', or {expected} that sum to 1."
        )
    return prior / prior.sum()


def images_at_once(density: ClassConditionalDensity) -> int:
    """How many images may pass through a model at once: 256, or fewer where classes times dimensions are many."""
    most = max(1, NUMBERS // (density.num_classes * density.dims))
    return min(BATCH, most if most < 16 else most - most % 16)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Within this context a model is in evaluation mode; then each of its modules is as before."""
    training = [module for module in model.modules() if module.training]
    if training:
        model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@torch.no_grad()
def predict(classifier: GenerativeClassifier, x: Tensor, batch: int | None = None) -> Prediction:
    """One :class:`Prediction` for all of ``x``, in evaluation mode; on the CPU.

    Args:
        classifier: The model; it stays in the mode in which it was.
        x: Images, shape ``(N, *event_shape)``.
        batch: Images that pass through the model at once. Default: :func:`images_at_once`.

    Raises:
        CondgenError: If an argument is no classifier, no images or no number of images.
    """
    check_classifier(classifier)
    check_tensor(x, "images")
    batch = images_at_once(classifier.density) if batch is None else batch
    check_count("batch", batch)
    with evaluating(classifier):
        parts = [classifier(part).cpu() for part in x.split(batch)]
    subspaces = [part.subspace_log_prob for part in parts if part.subspace_log_prob is not None]
    return Prediction(
        torch.cat([part.class_log_prob for part in parts]),
        parts[0].log_prior,
        classifier.density.dims,
        torch.cat(subspaces) if subspaces else None,
        x.cpu(),
    )
