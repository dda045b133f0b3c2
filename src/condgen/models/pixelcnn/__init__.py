"""Conditional PixelCNN++, the second model family of the paper (appendix E)."""

from condgen.models.pixelcnn.model import PixelCNN

__all__ = ["PixelCNN"]
