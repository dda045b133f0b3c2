"""Experiments: combine models, data, training and audits into a trained and audited run."""

from condgen.experiments.auditing import audit, audit_model, is_current
from condgen.experiments.building import Experiment, build, open_data
from condgen.experiments.fitting import fit
from condgen.experiments.inspecting import check, sample, summarize
from condgen.experiments.scoring import score_files
from condgen.experiments.simple import simple_densities
from condgen.experiments.subjects import subject_of
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
    "open_data",
    "sample",
    "score_files",
    "simple_densities",
    "subject_of",
    "summarize",
    "train",
]
