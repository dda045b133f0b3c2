r"""The uniform density: :math:`\log_2 L` bits/dim for every image."""

import math

import torch
from torch import Tensor

from condgen.models.simple.density import SimpleDensity


class Uniform(SimpleDensity):
    """All images are equally likely; nothing is fitted.

    Examples:
        >>> density = Uniform((1, 2, 2), num_classes=3, pixel_levels=4)
        >>> density.class_log_prob(torch.zeros(1, 1, 2, 2)) / (-4 * math.log(2))
        tensor([[2., 2., 2.]])
    """

    def class_log_prob(self, x: Tensor) -> Tensor:
        nats = -self.dims * math.log(self.pixel_levels)
        return 0 * x.flatten(1).sum(1, keepdim=True) + x.new_full((1, self.num_classes), nats)

    def observe(self, x: Tensor, label: Tensor) -> None:
        """Do nothing: the density does not depend on the images."""

    def solve(self) -> None:
        """Do nothing: the density has no parameters."""

    def statistics(self) -> dict[str, Tensor]:
        return {}

    def sample(
        self, label: Tensor, temperature: float = 1.0, *, generator: torch.Generator
    ) -> Tensor:
        """Uniform noise; the temperature has no effect."""
        most = self.pixel_levels - 1
        shape = (len(label), *self.event_shape)
        return torch.randint(0, self.pixel_levels, shape, generator=generator) / most
