"""Configurations in TOML: every setting, its default and its bounds; unknown keys are refused."""

from condgen.config.audits import AuditSettings
from condgen.config.data import Data, Images
from condgen.config.detectors import DetectorSettings, Quantile
from condgen.config.experiment import Config, SubjectConfig
from condgen.config.models import ModelSettings
from condgen.config.pages import (
    from_page,
    load_config,
    load_preset,
    preset_names,
    read_page,
    replaced,
    subject_config,
)
from condgen.config.section import Section
from condgen.config.training import (
    ExponentialDecay,
    LinearDecay,
    ObjectiveSettings,
    StepDecay,
    Training,
)

__all__ = [
    "AuditSettings",
    "Config",
    "Data",
    "DetectorSettings",
    "ExponentialDecay",
    "Images",
    "LinearDecay",
    "ModelSettings",
    "ObjectiveSettings",
    "Quantile",
    "Section",
    "StepDecay",
    "SubjectConfig",
    "Training",
    "from_page",
    "load_config",
    "load_preset",
    "preset_names",
    "read_page",
    "replaced",
    "subject_config",
]
