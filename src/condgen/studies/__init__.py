"""Studies: many trainings and audits from one TOML page, with a plan, workers and a report."""

from condgen.studies.page import study_names
from condgen.studies.study import Study, StudyRun

__all__ = ["Study", "StudyRun", "study_names"]
