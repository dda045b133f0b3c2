"""The plan of a study: which steps are done, which are left, and how long they take."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from condgen import experiments
from condgen.config import Config
from condgen.errors import ConfigError, DataError, RunError
from condgen.experiments.building import at_its_place
from condgen.registry import AUDITS
from condgen.runs import Run
from condgen.studies.estimates import Estimates
from condgen.studies.steps import TRAINING, Step
from condgen.studies.study import Study, StudyRun

State = Literal["done", "begun", "to do"]


@dataclass(frozen=True)
class PlannedStep:
    """A step with its state, the version of condgen that ran it, and the seconds left, if known."""

    step: Step
    state: State
    version: str = ""
    seconds: float | None = None


@dataclass(frozen=True)
class PlannedRun:
    """The steps of a run: the training first."""

    run: StudyRun
    path: Path
    steps: tuple[PlannedStep, ...]

    @property
    def trained(self) -> bool:
        return self.steps[0].state == "done"

    def step(self, what: str) -> PlannedStep | None:
        """The training or an audit; ``None`` if the run has no such step."""
        return next((planned for planned in self.steps if planned.step.what == what), None)

    def has(self, what: str) -> bool:
        """Whether the training or the audit is done."""
        planned = self.step(what)
        return planned is not None and planned.state == "done"


@dataclass(frozen=True)
class Plan:
    """A study in a folder."""

    study: Study
    folder: Path
    runs: tuple[PlannedRun, ...]

    def pending(self, only: str = "*") -> list[Step]:
        """The steps that are left, of the runs or steps that a pattern matches.

        Args:
            only: Such as ``"*-split"`` (labels) or ``"*/training"`` (steps). The training that a
                matched audit needs is included.

        Raises:
            ConfigError: If the pattern matches no step of the study.
        """
        matched = [
            (planned, run)
            for run in self.runs
            for planned in run.steps
            if _matches(planned.step, only)
        ]
        if not matched:
            labels = ", ".join(run.run.label for run in self.runs)
            raise ConfigError(
                f"--only '{only}' matches no step; runs: {labels}; a step is RUN/{TRAINING} or"
                " RUN/AUDIT."
            )
        wanted = {planned.step: None for planned, _ in matched if planned.state != "done"}
        needed = {
            run.steps[0].step: None
            for planned, run in matched
            if planned.step in wanted and not run.trained
        }
        return list(needed | wanted)

    def seconds(self, steps: Sequence[Step]) -> tuple[float, int]:
        """The total time of steps without parallelism, and the number of steps of unknown time."""
        times = [
            planned.seconds for run in self.runs for planned in run.steps if planned.step in steps
        ]
        return sum(time for time in times if time is not None), sum(time is None for time in times)


def make_plan(
    study: Study,
    folder: Path,
    data_dir: Path | None = None,
    device: str = "cpu",
    *,
    timed: str = "",
) -> Plan:
    """Find which steps of a study are done and which are left.

    A training is done if a run under ``folder/runs`` has these settings, this data and all steps,
    whatever its name. An audit is done if that run has a record with these settings, this detector,
    this seed and the run's current weights.

    Args:
        study: The runs and audits.
        folder: The folder of the study; its runs are in ``runs/``.
        data_dir: As for :func:`condgen.open_dataset`.
        device: Where steps will run, for estimates.
        timed: Pattern of runs. If no similar run was trained here, one of their training steps is
            timed.
    """
    folders = _Folders(folder.resolve() / "runs", data_dir)
    places = [(run, folders.find(run)) for run in study.runs]
    estimates = Estimates(folders.existing.values(), data_dir, device)
    runs = (
        _planned(run, path, folders.existing.get(path), estimates, timed) for run, path in places
    )
    return Plan(study, folder.resolve(), tuple(runs))


def _planned(
    run: StudyRun, path: Path, begun: Run | None, estimates: Estimates, timed: str
) -> PlannedRun:
    config = at_its_place(run.config)
    training, *audits = (Step(run.label, config, path, what) for what in (TRAINING, *run.audits))
    steps = [
        _training(
            training, begun, estimates, any(_matches(step, timed) for step in (training, *audits))
        )
    ]
    trained = begun if steps[0].state == "done" else None
    steps += [_audit(audit, trained, estimates) for audit in audits]
    return PlannedRun(run, path, tuple(steps))


def _matches(step: Step, pattern: str) -> bool:
    return fnmatchcase(step.label, pattern) or fnmatchcase(step.name, pattern)


def _training(step: Step, begun: Run | None, estimates: Estimates, timed: bool) -> PlannedStep:
    version = begun.config.versions.get("condgen", "") if begun else ""
    if begun and experiments.is_trained(begun.path, step.config):
        return PlannedStep(step, "done", version, 0.0)
    seconds = estimates.training(step.config, begun, timed=timed)
    return PlannedStep(step, "begun" if begun else "to do", version, seconds)


def _audit(step: Step, trained: Run | None, estimates: Estimates) -> PlannedStep:
    if trained is None or not experiments.is_current(trained, step.what, step.config):
        return PlannedStep(step, "to do", seconds=estimates.audit(step.what, step.config))
    origin = trained.record(AUDITS.get(step.what).name).origin
    return PlannedStep(step, "done", origin.get("versions", {}).get("condgen", ""), 0.0)


class _Folders:
    """The existing run directories, and those of new runs."""

    def __init__(self, directory: Path, data_dir: Path | None):
        self.directory, self.data_dir = directory, data_dir
        self.existing = {
            path.parent: run
            for path in sorted(directory.glob("*/config.toml"))
            if (run := _opened(path.parent))
        }
        self.taken: set[Path] = set()
        self.hashes: dict[str, dict[str, str]] = {}

    def find(self, run: StudyRun) -> Path:
        """The directory that already holds this run, else a new one."""
        named = [
            self.directory / run.label,
            *(path for path in self.existing if path.name != run.label),
        ]
        for path in named:
            if path in self.existing and path not in self.taken and self._is_of(path, run.config):
                self.taken.add(path)
                return path
        path, number = self.directory / run.label, 1
        while path in self.taken or path.exists():
            number += 1
            path = self.directory / f"{run.label}-{number}"
        self.taken.add(path)
        return path

    def _is_of(self, path: Path, config: Config) -> bool:
        begun = self.existing[path].config
        training = config.training.as_begun(begun.training)
        alike = begun.seed == config.seed and begun.training == training
        return alike and experiments.is_begun(path, config) and self._same_images(begun)

    def _same_images(self, begun: Config) -> bool:
        """Whether the data are those that the run recorded; unreadable data count as the same."""
        noted = begun.images.sha256 if begun.images else {}
        if not noted:
            return True
        key = begun.data.model_dump_json(include={"name", "size"})
        if key not in self.hashes:
            try:
                splits = experiments.open_data(begun, self.data_dir)
                self.hashes[key] = {part: images.sha256() for part, images in splits.items()}
            except DataError:
                self.hashes[key] = {}
        return self.hashes[key] in ({}, noted)


def _opened(path: Path) -> Run | None:
    """Open a run; ``None`` if the directory is not a run or is damaged."""
    try:
        return Run.open(path)
    except (RunError, ConfigError):
        return None
