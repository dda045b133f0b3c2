"""Random crops and flips of a batch, drawn independently for each image (appendix B)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from condgen.randomness import integers, uniform


@dataclass(frozen=True)
class Augmentation:
    """Random crop of the edge-padded image, then a horizontal flip with probability 1/2.

    Args:
        crop_padding: Pixels added on each side by repeating the edge. The paper uses 4.
        flip: Whether to flip. The paper flips CIFAR10 only.

    Examples:
        >>> augmentation = Augmentation(crop_padding=4, flip=True)
        >>> augmentation(torch.rand(5, 3, 32, 32), torch.Generator()).shape
        torch.Size([5, 3, 32, 32])
    """

    crop_padding: int = 0
    flip: bool = False

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Augmented copies of ``x``, shape ``(N, C, H, W)``."""
        number, _, height, width = x.shape
        rows = _source_indices(number, height, self, generator)
        columns = _source_indices(number, width, self, generator)
        if self.flip:
            flipped = uniform((number, 1), generator) < 0.5
            columns = torch.where(flipped, columns.flip(1), columns)
        image = torch.arange(number)[:, None, None]
        return x[image, :, rows[:, :, None], columns[:, None, :]].movedim(-1, 1).contiguous()


def _source_indices(
    number: int, size: int, augmentation: Augmentation, generator: torch.Generator
) -> Tensor:
    """Source row (or column) of each row of the crop, ``(N, size)``; clamping repeats the edge."""
    padding = augmentation.crop_padding
    start = integers(-padding, padding + 1, (number, 1), generator)
    return (start + torch.arange(size)).clamp(0, size - 1)
