"""All settings of an experiment."""

from typing import Annotated, Any

from pydantic import Field, SerializeAsAny

from condgen.config.audits import AuditSettings
from condgen.config.data import Data, Images
from condgen.config.detectors import DetectorSettings
from condgen.config.models import ModelSettings
from condgen.config.section import Section
from condgen.config.training import ObjectiveSettings, Training
from condgen.registry import AUDITS


class SubjectConfig(Section):
    """The configuration that audits need: a model, a data set and a detector.

    ``audit`` holds the audit settings that differ from their defaults. ``preset``, ``versions`` and
    ``images`` are filled in when a run starts.
    """

    data: Data
    model: SerializeAsAny[ModelSettings]
    detector: SerializeAsAny[DetectorSettings]
    audit: dict[str, SerializeAsAny[AuditSettings]] = Field(default_factory=dict)
    preset: str = ""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    versions: dict[str, str] = Field(default_factory=dict)
    images: Images | None = None

    def audit_settings(self, name: str) -> AuditSettings:
        """The settings of an audit: the given ones, or the defaults."""
        given = self.audit.get(name)
        settings: AuditSettings = AUDITS.get(name).settings() if given is None else given
        return settings


class Config(SubjectConfig):
    """The configuration of an experiment: a subject with its objective and training.

    ``start`` is filled in with the sha256 of the weights that training starts from, if it starts
    from another run.
    """

    objective: SerializeAsAny[ObjectiveSettings]
    training: Training = Training()
    start: str = ""

    def trains_as(self, other: "Config") -> bool:
        """Whether both train the same model on the same data; detector and audits may differ."""
        return self.of_training() == other.of_training()

    def of_training(self) -> dict[str, Any]:
        """The settings that the trained weights depend on."""
        return self.model_dump(include={"data", "model", "objective", "training", "seed", "start"})
