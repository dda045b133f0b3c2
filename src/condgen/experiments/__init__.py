"""From a configuration to a trained, audited run: where models, data, training and audits meet."""

from condgen.experiments.auditing import audit, audit_model, is_current
from condgen.experiments.building import Experiment, build, open_data
from condgen.experiments.fitting import fit
from condgen.experiments.inspecting import check, sample, summarize
from condgen.experiments.subjects import load_classifier, subject_of
from condgen.experiments.training import is_begun, is_trained, train

__all__ = [
    "Experiment",
    "audit",
    "audit_model",
    "build",
    "check",
    "fit",
    "is_begun",
    "is_current",
    "is_trained",
    "load_classifier",
    "open_data",
    "sample",
    "subject_of",
    "summarize",
    "train",
]
