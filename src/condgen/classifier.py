"""Bayes' rule: a class-conditional density as a classifier."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from condgen.density import ClassConditionalDensity
from condgen.errors import CondgenError
from condgen.validation import check_answer, check_images, check_model

BATCH = 256  # images in one pass through the model


def check_classifier(classifier: object) -> None:
    """Refuse a bare model.

    Raises:
        CondgenError: If it is no :class:`GenerativeClassifier`, nor a compiled one.
    """
    if not hasattr(classifier, "density"):
        raise CondgenError(f"the classifier is a {type(classifier).__name__}; give GenerativeClassifier(your model).")


@dataclass(frozen=True)
class Prediction:
    """What Bayes' rule makes of the class log-likelihoods; every field has shape ``(N, ...)``."""

    class_log_prob: Tensor  # (N, C), nats
    log_prior: Tensor  # (C,), nats
    dims: int
    subspace_log_prob: Tensor | None = None  # (N, C), nats: log p(z_s | y), where the model has a class subspace
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
        r""":math:`\log p(y \mid x)`, shape ``(N, C)``."""
        return self.log_joint.log_softmax(-1)

    @property
    def label(self) -> Tensor:
        """The likeliest class, shape ``(N,)``."""
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
        subspace, x = (None if part is None else part.cpu() for part in (self.subspace_log_prob, self.x))
        return Prediction(self.class_log_prob.cpu(), self.log_prior.cpu(), self.dims, subspace, x)


class GenerativeClassifier(nn.Module):
    r"""Classifies by :math:`p(y \mid x) \propto p(x \mid y)\, p(y)`.

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
        self.density = density
        if prior is None:
            prior = torch.full((density.num_classes,), 1 / density.num_classes)
        if not isinstance(prior, Tensor):
            raise CondgenError(f"prior is a {type(prior).__name__}, expected a tensor of {density.num_classes} numbers.")
        if prior.shape != (density.num_classes,) or not (prior > 0).all() or not math.isclose(prior.sum(), 1, abs_tol=1e-5):
            raise CondgenError(f"prior {prior.tolist()} is not {density.num_classes} positive numbers that sum to 1.")
        self.register_buffer("log_prior", prior.log())

    @property
    def device(self) -> torch.device:
        """Where its parameters live; images from elsewhere are moved there."""
        return self.log_prior.device

    def forward(self, x: Tensor) -> Prediction:
        check_images(x, self.density)
        if x.dtype == torch.float64 and next(self.density.parameters(), x).dtype == torch.float32:
            x = x.float()  # NumPy's usual numbers, which such a model could not multiply
        answer = self.density(x.to(self.device))
        if not isinstance(answer, tuple):
            raise CondgenError(f"{type(self.density).__name__} has a `forward` of its own; name it `class_log_prob`.")
        class_log_prob, subspace_log_prob = answer
        check_answer(class_log_prob, len(x), self.density)
        return Prediction(class_log_prob, self.log_prior, self.density.dims, subspace_log_prob, x)


@torch.no_grad()
def predict(classifier: GenerativeClassifier, x: Tensor, batch: int = BATCH) -> Prediction:
    """One :class:`Prediction` for all of ``x``, computed ``batch`` images at a time, in evaluation mode; on the CPU."""
    classifier.eval()
    parts = [classifier(part).cpu() for part in x.split(batch)]
    subspaces = [part.subspace_log_prob for part in parts if part.subspace_log_prob is not None]
    return Prediction(
        torch.cat([part.class_log_prob for part in parts]),
        parts[0].log_prior,
        classifier.density.dims,
        torch.cat(subspaces) if subspaces else None,
        x.cpu(),
    )
