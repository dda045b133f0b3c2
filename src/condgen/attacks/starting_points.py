"""Starting points of decision-based attacks: images that reach the goal, at any distance."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from condgen.attacks.result import NO_START
from condgen.attacks.search import Search, spread
from condgen.errors import CondgenError
from condgen.validation import check_images, check_tensor, is_count

BISECTIONS = 12


@dataclass(frozen=True)
class StartingPoints:
    """Find a starting point for each image of a batch.

    Args:
        images: Candidates, such as test images. For a goal with a detector, Sec. 4.3 starts from a
            real image of another class, which is accepted. ``None``: uniform noise, as in the
            original boundary attack.
        tries: Number of noise images to try.
        nearest: Take the nearest of ``images`` that reaches the goal. Default: a random one of
            those.
    """

    images: Tensor | None = field(default=None, repr=False)
    tries: int = 25
    nearest: bool = False

    def __post_init__(self) -> None:
        if not is_count(self.tries):
            raise CondgenError(
                f"StartingPoints has tries = {self.tries!r}, expected 1 or more, a whole number."
            )
        if self.images is not None:
            check_tensor(self.images, "images")

    def find(
        self, search: Search, index: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Starting points, shape ``(n, *event_shape)``, and which were found, shape ``(n,)``."""
        if self.images is None:
            return self._noise(search, index, generator)
        return self._from_images(search, index, self.images, generator)

    def on_boundary(
        self, search: Search, index: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, dict[int, str]]:
        """Find starting points and move them onto the boundary.

        Returns:
            The part of ``index`` with a starting point, these points, and the reason for each other
            image.
        """
        start, found = self.find(search, index, generator)
        left = index[found]
        current = bisect(search, left, start[found]) if len(left) else start[found]
        return left, current, {int(i): NO_START for i in index[~found]}

    def _noise(
        self, search: Search, index: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        low, high = search.bounds
        start, found = search.x[index].clone(), torch.zeros(len(index), dtype=torch.bool)
        for _ in range(self.tries):
            left = torch.nonzero(~found).flatten()
            if not len(left):
                break
            noise = low + (high - low) * torch.rand(
                start[left].shape, generator=generator, dtype=start.dtype
            )
            good = search.reached(noise, index[left])
            start[left[good]], found[left[good]] = noise[good], True
        return start, found

    def _from_images(
        self, search: Search, index: Tensor, images: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Evaluate each of ``images`` once; query the chosen one again, and count that."""
        images = images.to(search.x)
        check_images(images, search.classifier.density, search.bounds)
        if not len(images):
            return search.x[index].clone(), torch.zeros(len(index), dtype=torch.bool)
        usable = search.reaching(images, index)
        preference = torch.rand(usable.shape, generator=generator)
        if self.nearest:
            preference = -torch.cdist(search.x[index].flatten(1), images.flatten(1))
        start = images[preference.masked_fill(~usable, -torch.inf).argmax(1)]
        found = usable.any(1)
        left = torch.nonzero(found).flatten()
        found[left] = search.reached(start[left], index[left])
        return start, found


def bisect(search: Search, index: Tensor, start: Tensor, steps: int = BISECTIONS) -> Tensor:
    """Move images that reach the goal straight toward the originals, as far as it stays reached.

    Returns images of the shape of ``start``.
    """
    x = search.x[index]
    near, far = start.new_zeros(len(index)), start.new_ones(len(index))
    for _ in range(steps):
        middle = (near + far) / 2
        good = search.reached(search.clip(torch.lerp(x, start, spread(middle, x))), index)
        near, far = torch.where(good, near, middle), torch.where(good, middle, far)
    return search.clip(torch.lerp(x, start, spread(far, x)))
