"""Digits on photographs: the paper's BG-MNIST construction for any foreground and background (Sec. 4.5)."""

import numpy as np
from numpy.typing import NDArray

from condgen.errors import DataError


def compose(foreground: NDArray[np.uint8], background: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Replace the black of ``foreground`` by ``background``; every other pixel stays as it is.

    Args:
        foreground: 256 levels, shape ``(N, 1, H, W)``.
        background: The same shape.

    Examples:
        >>> compose(np.array([[[[0, 9]]]], np.uint8), np.array([[[[7, 7]]]], np.uint8))
        array([[[[7, 9]]]], dtype=uint8)
    """
    if foreground.shape != background.shape:
        raise DataError(f"foreground {foreground.shape} and background {background.shape} must have the same shape.")
    return np.where(foreground > 0, foreground, background)
