"""Digits on photographs: the BG-MNIST construction for any two data sets (Sec. 4.5)."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from condgen.errors import DataError

LUMA = np.array([0.299, 0.587, 0.114])[:, None, None]  # ITU-R 601, as in image libraries


def compose(foreground: NDArray[np.uint8], background: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Replace the black pixels of ``foreground`` by ``background``.

    Args:
        foreground: 256 levels, shape ``(N, 1, H, W)``.
        background: The same shape.

    Examples:
        >>> compose(np.array([[[[0, 9]]]], np.uint8), np.array([[[[7, 7]]]], np.uint8))
        array([[[[7, 9]]]], dtype=uint8)
    """
    if foreground.shape != background.shape:
        raise DataError(
            f"foreground {foreground.shape} and background {background.shape} must have the same"
            " shape."
        )
    return np.where(foreground > 0, foreground, background)


def gray(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Convert ``(N, 3, H, W)`` to ``(N, 1, H, W)``; gray images are returned unchanged."""
    if images.shape[1] == 1:
        return images
    luma: NDArray[np.float64] = (images * LUMA).sum(1, keepdims=True)
    return luma.round().astype(np.uint8)


def blurred(images: NDArray[np.uint8], bandwidth: float) -> NDArray[np.uint8]:
    """Gaussian blur of standard deviation ``bandwidth`` in pixels, edges repeated; 0: no blur."""
    if bandwidth == 0:
        return images
    sigma = (0, 0, bandwidth, bandwidth)
    smooth: NDArray[np.float32] = gaussian_filter(images.astype(np.float32), sigma, mode="nearest")
    return smooth.round().astype(np.uint8)
