"""Simple densities, fitted in closed form: baselines for learned models."""

from condgen.models.simple.density import SimpleDensity
from condgen.models.simple.gaussian import Gaussian
from condgen.models.simple.independent_pixels import IndependentPixels
from condgen.models.simple.uniform import Uniform

__all__ = ["Gaussian", "IndependentPixels", "SimpleDensity", "Uniform"]
