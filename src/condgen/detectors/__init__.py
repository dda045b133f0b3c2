"""Detectors: a score for each image, and a threshold above which the image is rejected."""

from condgen.detectors.base import Detector, build_detector, flagged, score, warnings_of
from condgen.detectors.likelihood import LikelihoodThreshold
from condgen.detectors.typicality import Typicality

__all__ = [
    "Detector",
    "LikelihoodThreshold",
    "Typicality",
    "build_detector",
    "flagged",
    "score",
    "warnings_of",
]
