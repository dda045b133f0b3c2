r"""Class-conditional priors over the whole latent vector, :math:`p(z \mid y)`."""

import abc
import math

import torch
from torch import Tensor, nn

from condgen.errors import ConfigError, suggest
from condgen.models.distributions import FAMILIES, GAUSSIAN, class_log_prob, log_prob
from condgen.randomness import draw, integers, uniform

REFERENCE_DIMS = 128


class ClassParameters(nn.Module):
    r"""A mean and a log-scale per class and dimension, with steps that do not grow with ``dims``.

    A step of Adam changes each parameter by the learning rate, and the difference of two class
    log-likelihoods by ``dims`` times as much. At 2048 dimensions the posterior changes by hundreds
    of nats per step. Above 128 dimensions the parameters are therefore multiplied by
    ``128 / dims``.
    """

    def __init__(self, num_classes: int, dims: int):
        super().__init__()
        self.gain = min(1.0, REFERENCE_DIMS / dims)
        self.raw_mean = nn.Parameter(torch.zeros(num_classes, dims))
        self.raw_log_scale = nn.Parameter(torch.zeros(num_classes, dims))

    @property
    def mean(self) -> Tensor:
        """Mean, shape ``(C, dims)``."""
        return self.gain * self.raw_mean

    @property
    def log_scale(self) -> Tensor:
        """Log-scale in nats, shape ``(C, dims)``."""
        return self.gain * self.raw_log_scale


class Prior(nn.Module, abc.ABC):
    r""":math:`p(z \mid y)` on vectors of ``dims`` numbers.

    A subclass implements :meth:`cluster_log_prob` and :meth:`sample_cluster`.

    Args:
        num_classes: C.
        dims: Length of z.
        family: Density around the mean of a class; a key of
            :data:`condgen.models.distributions.FAMILIES` (C.1).
        label_smoothing: :math:`\epsilon`, the probability that the latent cluster is not that of
            the label (C.2).
    """

    def __init__(
        self, num_classes: int, dims: int, family: str = "gaussian", label_smoothing: float = 0.0
    ):
        super().__init__()
        if family not in FAMILIES:
            raise ConfigError(f"family '{family}' is not known; {suggest(family, FAMILIES)}")
        if not 0 <= label_smoothing < 1:
            raise ConfigError(
                f"label smoothing is {label_smoothing:g}, expected a probability below 1, such as"
                " 0.1."
            )
        if label_smoothing > 0 and num_classes < 2:
            raise ConfigError(
                f"label smoothing of {label_smoothing:g} needs 2 or more classes, but there is"
                f" {num_classes}; set it to 0, or add classes."
            )
        self.num_classes = num_classes
        self.dims = dims
        self.family = FAMILIES[family]
        self.label_smoothing = label_smoothing

    @abc.abstractmethod
    def cluster_log_prob(self, z: Tensor) -> tuple[Tensor, Tensor | None]:
        r"""Cluster log-probabilities in nats, each of shape ``(N, C)``.

        Returns:
            :math:`\log p(z \mid k)` and :math:`\log p(z_s \mid k)`; the latter is ``None`` without
            a class subspace.
        """

    @abc.abstractmethod
    def sample_cluster(
        self, cluster: Tensor, temperature: float, generator: torch.Generator
    ) -> Tensor:
        """Draw a ``z`` for each cluster, shape ``(N, dims)``; ``temperature`` scales the noise."""

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor | None]:
        r"""Class log-probabilities in nats, each of shape ``(N, C)``.

        Returns:
            :math:`\log p(z \mid y)` and :math:`\log p(z_s \mid y)`; the latter is ``None`` without
            a class subspace.
        """
        of_z, of_subspace = self.cluster_log_prob(z)
        return self._smoothed(of_z), None if of_subspace is None else self._smoothed(of_subspace)

    def sample(self, label: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
        """Draw a ``z`` for each label, shape ``(N, dims)``.

        Random numbers are drawn on the device of the generator and then moved.
        """
        label = label.to(generator.device)
        shift = integers(1, max(2, self.num_classes), label.shape, generator)
        other = (label + shift) % self.num_classes
        swapped = uniform(label.shape, generator) < self.label_smoothing
        return self.sample_cluster(
            torch.where(swapped, other, label).to(self.device), temperature, generator
        )

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return next(self.parameters()).device

    def _smoothed(self, of_cluster: Tensor) -> Tensor:
        r""":math:`\log \sum_k p(k \mid y)\, p(z \mid k)`, shape ``(N, C)``.

        :math:`p(k \mid y)` is :math:`1 - \epsilon` for k = y and uniform over the other clusters.
        """
        if self.label_smoothing == 0:
            return of_cluster
        others = self.label_smoothing / (self.num_classes - 1)
        weights = torch.full(
            (self.num_classes, self.num_classes),
            others,
            dtype=of_cluster.dtype,
            device=of_cluster.device,
        )
        weights.fill_diagonal_(1 - self.label_smoothing)
        return torch.logsumexp(of_cluster[:, None] + weights.log(), dim=-1)


class ClassMixture(Prior):
    r""":math:`p(z \mid y)` with a mean and a scale per class: Base and Reweight (Sec. 4.1).

    With ``class_dims`` only the last dimensions of z, from the deepest level, depend on the class;
    the others have mean 0 and scale 1. Fewer dimensions make the class log-likelihoods more stable
    while the flow changes, which helps short training runs.

    Args:
        num_classes: C.
        dims: Length of z.
        family: Density around the mean of a class.
        label_smoothing: As for :class:`Prior`.
        class_dims: Number of dimensions of z that depend on the class. Default: all, as in the
            paper.

    Examples:
        >>> prior = ClassMixture(num_classes=10, dims=32)
        >>> prior(torch.randn(4, 32))[0].shape
        torch.Size([4, 10])
    """

    def __init__(
        self,
        num_classes: int,
        dims: int,
        family: str = "gaussian",
        label_smoothing: float = 0.0,
        class_dims: int | None = None,
    ):
        super().__init__(num_classes, dims, family, label_smoothing)
        self.class_dims = dims if class_dims is None else class_dims
        if not 0 < self.class_dims <= dims:
            raise ConfigError(
                f"model.prior.class_dims is {class_dims}, but z has {dims} dimensions; use 1 to"
                f" {dims}."
            )
        self.classes = ClassParameters(num_classes, self.class_dims)

    def cluster_log_prob(self, z: Tensor) -> tuple[Tensor, None]:
        rest, of_class = z.split([self.dims - self.class_dims, self.class_dims], dim=1)
        log_p = class_log_prob(self.family, of_class, self.classes.mean, self.classes.log_scale)
        return log_p + self.family.log_prob(rest).sum(1, keepdim=True), None

    def sample_cluster(
        self, cluster: Tensor, temperature: float, generator: torch.Generator
    ) -> Tensor:
        noise = draw(self.family.draw, (len(cluster), self.dims), generator).to(self.device)
        noise = temperature * noise
        rest, of_class = noise.split([self.dims - self.class_dims, self.class_dims], dim=1)
        shifted = self.classes.mean[cluster] + self.classes.log_scale[cluster].exp() * of_class
        return torch.cat([rest, shifted], dim=1)


class SplitPrior(Prior):
    r""":math:`p(z \mid y) = \mathcal{N}(z_s; e_y, \sigma^2 I)\, p(z_n \mid z_s, y)`.

    The last C dimensions of z, from the deepest level, are :math:`z_s`. Their log-probabilities are
    the logits of the cross-entropy. :math:`z_n` has a mean and a log-scale per class, plus the
    output of a network with one hidden layer and input :math:`(y, z_s)`.

    Args:
        num_classes: C.
        dims: Length of z.
        scale: :math:`\sigma`, the constant scale of the class subspace.
        family: Of :math:`p(z_n \mid z_s, y)`.
        label_smoothing: As for :class:`Prior`.
        hidden: Width of the hidden layer.

    References:
        Appendix A.4, with :math:`z_s` where the last line of the paper has :math:`z_n` on both
        sides.
    """

    def __init__(
        self,
        num_classes: int,
        dims: int,
        scale: float = 0.3,
        family: str = "gaussian",
        label_smoothing: float = 0.0,
        hidden: int = 64,
    ):
        super().__init__(num_classes, dims, family, label_smoothing)
        if dims <= num_classes:
            raise ConfigError(
                f"the split prior needs more dimensions of z than the {num_classes} classes, but z"
                f" has {dims}; use larger images (z of {num_classes + 1} or more), or"
                ' model.prior = "class-mixture".'
            )
        if not 0 < scale < math.inf:
            raise ConfigError(
                f"the scale of the class subspace is {scale:g}, expected a positive number such as"
                " 0.3."
            )
        self.rest = dims - num_classes
        self.log_subspace_scale = math.log(scale)
        self.classes = ClassParameters(num_classes, self.rest)
        self.of_class = nn.Embedding(num_classes, hidden)
        self.of_subspace = nn.Linear(num_classes, hidden)
        self.network = nn.Linear(hidden, 2 * self.rest)
        nn.init.zeros_(self.network.weight)
        nn.init.zeros_(self.network.bias)

    def cluster_log_prob(self, z: Tensor) -> tuple[Tensor, Tensor]:
        rest, subspace = z.split([self.rest, self.num_classes], dim=1)
        corners = torch.eye(self.num_classes, dtype=z.dtype, device=z.device)
        of_subspace = class_log_prob(
            GAUSSIAN, subspace, corners, torch.full_like(corners, self.log_subspace_scale)
        )
        every_class = torch.arange(self.num_classes, device=z.device)
        mean, log_scale = self.mean_and_log_scale(subspace[:, None], every_class)
        return of_subspace + log_prob(self.family, rest[:, None], mean, log_scale), of_subspace

    def sample_cluster(
        self, cluster: Tensor, temperature: float, generator: torch.Generator
    ) -> Tensor:
        corner = nn.functional.one_hot(cluster, self.num_classes).to(self.classes.raw_mean.dtype)
        noise = draw(GAUSSIAN.draw, (len(cluster), self.num_classes), generator).to(self.device)
        subspace = corner + temperature * math.exp(self.log_subspace_scale) * noise
        mean, log_scale = self.mean_and_log_scale(subspace, cluster)
        noise = draw(self.family.draw, (len(cluster), self.rest), generator).to(self.device)
        rest = mean + temperature * log_scale.exp() * noise
        return torch.cat([rest, subspace], dim=1)

    def mean_and_log_scale(self, subspace: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        r"""Mean and log-scale of :math:`p(z_n \mid z_s, y)`, shape ``(..., dims - C)``.

        ``subspace`` and ``label`` broadcast.
        """
        hidden = torch.relu(self.of_class(label) + self.of_subspace(subspace))
        mean, log_scale = (
            self.classes.gain * part for part in self.network(hidden).chunk(2, dim=-1)
        )
        return self.classes.mean[label] + mean, self.classes.log_scale[label] + log_scale
