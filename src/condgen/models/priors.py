r"""Class-conditional priors over the whole latent vector, :math:`p(z \mid y)`."""

import abc
import math

import torch
from torch import Tensor, nn

LOG_2PI = math.log(2 * math.pi)
REFERENCE_DIMS = 128


def gaussian_log_prob(z: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """Diagonal Gaussian, in nats, summed over the last dimension."""
    return -(0.5 * ((z - mean) * (-log_scale).exp()).square() + log_scale + 0.5 * LOG_2PI).sum(-1)


class ClassGaussians(nn.Module):
    r"""A mean and a log-scale per class and dimension, whose step size does not grow with the dimensions.

    A step of Adam moves every number by the learning rate, and with it the difference of two class log-likelihoods by
    ``dims`` times as much: at 2048 dimensions the posterior swings by hundreds of nats from one step to the next. Beyond
    128 dimensions the parameters therefore count ``128 / dims``-fold.
    """

    def __init__(self, num_classes: int, dims: int):
        super().__init__()
        self.gain = min(1.0, REFERENCE_DIMS / dims)
        self.raw_mean = nn.Parameter(torch.zeros(num_classes, dims))
        self.raw_log_scale = nn.Parameter(torch.zeros(num_classes, dims))

    @property
    def mean(self) -> Tensor:
        """Shape ``(C, dims)``."""
        return self.gain * self.raw_mean

    @property
    def log_scale(self) -> Tensor:
        """Shape ``(C, dims)``, nats."""
        return self.gain * self.raw_log_scale


class Prior(nn.Module, abc.ABC):
    r""":math:`p(z \mid y)` on vectors of ``dims`` numbers. A subclass writes two methods."""

    def __init__(self, num_classes: int, dims: int):
        super().__init__()
        self.num_classes = num_classes
        self.dims = dims

    @abc.abstractmethod
    def forward(self, z: Tensor) -> tuple[Tensor, Tensor | None]:
        r""":math:`\log p(z \mid y)` and, where there is a class subspace, :math:`\log p(z_s \mid y)`; both ``(N, C)``."""

    @abc.abstractmethod
    def sample(self, label: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
        """One ``z`` for each label, shape ``(N, dims)``; ``temperature`` multiplies the standard deviations."""


class GaussianMixture(Prior):
    r""":math:`p(z \mid y) = \mathcal{N}(z; \mu_y, \mathrm{diag}(\sigma_y^2))` over all of z: Base and Reweight (Sec. 4.1).

    Examples:
        >>> prior = GaussianMixture(num_classes=10, dims=32)
        >>> prior(torch.randn(4, 32))[0].shape
        torch.Size([4, 10])
    """

    def __init__(self, num_classes: int, dims: int):
        super().__init__(num_classes, dims)
        self.gaussians = ClassGaussians(num_classes, dims)

    def forward(self, z: Tensor) -> tuple[Tensor, None]:
        return gaussian_log_prob(z[:, None], self.gaussians.mean, self.gaussians.log_scale), None

    def sample(self, label: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
        noise = torch.randn((len(label), self.dims), generator=generator)
        return self.gaussians.mean[label] + temperature * self.gaussians.log_scale[label].exp() * noise


class SplitPrior(Prior):
    r""":math:`p(z \mid y) = \mathcal{N}(z_s; e_y, \sigma^2 I)\, \mathcal{N}(z_n; \mu(y, z_s), \Sigma(y, z_s))`, diagonal.

    The last C numbers of z, from the deepest level, are :math:`z_s`; their log-probabilities serve as logits of the
    cross-entropy. A network with one hidden layer reads :math:`(y, z_s)` and adds to a mean and a log-scale per class.

    Args:
        num_classes: C.
        dims: Length of z.
        scale: :math:`\sigma`, the constant scale of the class subspace.
        hidden: Width of the network's hidden layer.

    References:
        Appendix A.4, with :math:`z_s` where the paper's last line prints :math:`z_n` on both sides.
    """

    def __init__(self, num_classes: int, dims: int, scale: float = 0.5, hidden: int = 64):
        super().__init__(num_classes, dims)
        self.rest = dims - num_classes
        self.log_subspace_scale = math.log(scale)
        self.gaussians = ClassGaussians(num_classes, self.rest)
        self.of_class = nn.Embedding(num_classes, hidden)
        self.of_subspace = nn.Linear(num_classes, hidden)
        self.network = nn.Linear(hidden, 2 * self.rest)
        nn.init.zeros_(self.network.weight)
        nn.init.zeros_(self.network.bias)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        rest, subspace = z.split([self.rest, self.num_classes], dim=1)
        corners = torch.eye(self.num_classes, dtype=z.dtype, device=z.device)
        log_scale = z.new_full((), self.log_subspace_scale)
        of_subspace = gaussian_log_prob(subspace[:, None], corners, log_scale)
        every_class = torch.arange(self.num_classes, device=z.device)
        mean, log_scale = self._mean_and_log_scale(subspace[:, None], every_class)
        return of_subspace + gaussian_log_prob(rest[:, None], mean, log_scale), of_subspace

    def sample(self, label: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
        noise = temperature * torch.randn((len(label), self.dims), generator=generator)
        noise_rest, noise_subspace = noise.split([self.rest, self.num_classes], dim=1)
        corner = nn.functional.one_hot(label, self.num_classes).to(noise.dtype)
        subspace = corner + math.exp(self.log_subspace_scale) * noise_subspace
        mean, log_scale = self._mean_and_log_scale(subspace, label)
        return torch.cat([mean + log_scale.exp() * noise_rest, subspace], dim=1)

    def _mean_and_log_scale(self, subspace: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        hidden = torch.relu(self.of_class(label) + self.of_subspace(subspace))
        mean, log_scale = self.network(hidden).chunk(2, dim=-1)
        gain = self.gaussians.gain
        return self.gaussians.mean[label] + gain * mean, self.gaussians.log_scale[label] + gain * log_scale
