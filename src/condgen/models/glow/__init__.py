"""Class-conditional Glow, the first model family of the paper."""

from condgen.models.glow.model import Glow

__all__ = ["Glow"]
