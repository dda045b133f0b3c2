"""Train class-conditional generative models and audit whether their likelihood can be trusted.

Public names are imported on first use, so that importing the package is fast.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from condgen.classifier import GenerativeClassifier
    from condgen.config import Config, load_preset
    from condgen.data.catalogue import open_dataset
    from condgen.data.dataset import ImageDataset, Splits
    from condgen.density import ClassConditionalDensity
    from condgen.detectors import Detector, LikelihoodThreshold, Typicality
    from condgen.errors import CondgenError
    from condgen.experiments.fitting import fit
    from condgen.models.gaussian import DiagonalGaussian
    from condgen.models.glow import Glow
    from condgen.models.glow.priors import ClassMixture, SplitPrior
    from condgen.prediction import Prediction
    from condgen.reports import write_report
    from condgen.reports.audited import AuditedModel
    from condgen.runs import Run

HOMES = {
    "AuditedModel": "reports.audited",
    "ClassConditionalDensity": "density",
    "CondgenError": "errors",
    "Config": "config",
    "Detector": "detectors",
    "DiagonalGaussian": "models.gaussian",
    "ClassMixture": "models.glow.priors",
    "GenerativeClassifier": "classifier",
    "Glow": "models.glow",
    "ImageDataset": "data.dataset",
    "LikelihoodThreshold": "detectors",
    "Prediction": "prediction",
    "Run": "runs",
    "SplitPrior": "models.glow.priors",
    "Splits": "data.dataset",
    "Typicality": "detectors",
    "fit": "experiments.fitting",
    "load_preset": "config",
    "open_dataset": "data.catalogue",
    "write_report": "reports",
}

__all__ = [
    "AuditedModel",
    "ClassConditionalDensity",
    "ClassMixture",
    "CondgenError",
    "Config",
    "Detector",
    "DiagonalGaussian",
    "GenerativeClassifier",
    "Glow",
    "ImageDataset",
    "LikelihoodThreshold",
    "Prediction",
    "Run",
    "SplitPrior",
    "Splits",
    "Typicality",
    "fit",
    "load_preset",
    "open_dataset",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module 'condgen' has no attribute '{name}'")
    return getattr(importlib.import_module(f"condgen.{HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(HOMES)
