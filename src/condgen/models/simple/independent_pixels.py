"""Independent pixels: a smoothed histogram for each position."""

import math

import torch
from torch import Tensor

from condgen.errors import ConfigError
from condgen.models.simple.density import SimpleDensity

MOST_NUMBERS = 2 * 10**8  # in all histograms
PSEUDO_COUNTS = tuple(2.0**power for power in range(-2, 12))  # candidates for the smoothing


class IndependentPixels(SimpleDensity):
    r""":math:`p(x) = \prod_d p_d(x_d)` with a histogram :math:`p_d` of pixel values per position.

    Smoothing adds pseudo-counts distributed like a broader histogram. For a class it is the
    histogram of all classes. For a position it is the equal mixture of the histogram of all
    positions and the uniform one. The number of pseudo-counts maximizes the leave-one-out
    likelihood of the training images. Between two levels a cubic Hermite spline interpolates the
    log-probability, so that its gradient in ``x`` is continuous.

    Raises:
        ConfigError: If the histograms have more than :data:`MOST_NUMBERS` numbers.
    """

    counts: Tensor
    log_table: Tensor
    slope: Tensor

    def allocate(self) -> None:
        shape = (self.groups, self.dims, self.pixel_levels)
        if math.prod(shape) > MOST_NUMBERS:
            raise ConfigError(
                f"{self.groups * self.dims} histograms of {self.pixel_levels} levels are too large;"
                " set model.per_class=false or use smaller images, such as data.size=32."
            )
        self.register_buffer("counts", torch.zeros(shape, dtype=torch.int32), persistent=False)
        self.register_buffer("log_table", torch.zeros(shape))
        self.register_buffer("slope", torch.zeros(shape))

    def class_log_prob(self, x: Tensor) -> Tensor:
        value = self.stored(x)
        low = value.detach().floor().clamp(0, self.pixel_levels - 2).long()
        t = value - low
        position = torch.arange(self.dims, device=x.device)
        tables = zip(self.log_table.to(x.dtype), self.slope.to(x.dtype), strict=True)
        log_prob = [
            (2 * t**3 - 3 * t**2 + 1) * table[position, low]
            + (3 * t**2 - 2 * t**3) * table[position, low + 1]
            + (t**3 - 2 * t**2 + t) * slope[position, low]
            + (t**3 - t**2) * slope[position, low + 1]
            for table, slope in tables
        ]
        return self.of_classes(torch.stack(log_prob, dim=1).sum(-1))

    @torch.no_grad()
    def observe(self, x: Tensor, label: Tensor) -> None:
        value = self.stored(x).round().long()
        position = torch.arange(self.dims, device=x.device) * self.pixel_levels
        for group, members in self.of_groups(label):
            cells = (value[members] + position).flatten()
            counts = torch.bincount(cells, minlength=self.dims * self.pixel_levels)
            self.counts[group] += counts.view(self.dims, self.pixel_levels).to(self.counts)

    @torch.no_grad()
    def solve(self) -> None:
        counts = self.counts.double()
        self.check_counts(counts[:, 0].sum(-1))
        of_positions = counts.sum(0)
        of_all = of_positions.sum(0)
        table = smoothed(of_positions, 0.5 * of_all / of_all.sum() + 0.5 / self.pixel_levels)
        for group in range(self.groups):
            of_group = smoothed(counts[group], table) if self.per_class else table
            self.log_table[group] = of_group.log()
        (self.slope[:],) = torch.gradient(self.log_table, dim=-1)

    def statistics(self) -> dict[str, Tensor]:
        return {"counts": self.counts}

    def sample(
        self, label: Tensor, temperature: float = 1.0, *, generator: torch.Generator
    ) -> Tensor:
        """Independent samples per pixel; the temperature divides the log-probabilities."""
        group = label if self.per_class else torch.zeros_like(label)
        table = (self.log_table.cpu() / max(temperature, 1e-6)).softmax(-1)
        value = torch.stack(
            [torch.multinomial(table[y], 1, generator=generator)[:, 0] for y in group.tolist()]
        )
        return (value / (self.pixel_levels - 1)).view(len(label), *self.event_shape)


def smoothed(counts: Tensor, prior: Tensor) -> Tensor:
    """Histograms smoothed towards ``prior``.

    Args:
        counts: Shape ``(D, L)``; each row has the same sum.
        prior: Probabilities of the levels, positive, shape ``(L,)`` or ``(D, L)``.

    Returns:
        Probabilities, shape ``(D, L)``.

    Examples:
        >>> counts = torch.tensor([[40.0, 0.0], [20.0, 20.0]])
        >>> smoothed(counts, torch.tensor([0.75, 0.25])).round(decimals=2)
        tensor([[1.0000, 0.0000],
                [0.5000, 0.5000]])
    """
    number = counts[0].sum()

    def leave_one_out(added: float) -> float:
        seen = (counts - 1).clamp(min=0) + added * prior
        return float((counts * (seen / (number - 1 + added)).log()).sum())

    added = max(PSEUDO_COUNTS, key=leave_one_out)
    return (counts + added * prior) / (number + added)
