"""Class-conditional Glow: the paper's first family."""

from condgen.models.glow.model import Glow

__all__ = ["Glow"]
