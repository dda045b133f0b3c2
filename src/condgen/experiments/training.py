"""Training of a run: start a new one, or resume it from its newest checkpoint."""

import math
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from condgen import machine, processes
from condgen.config import Config
from condgen.config.training import WITHOUT_EFFECT
from condgen.data.dataset import Splits
from condgen.errors import CondgenError, ConfigError, DataError, RunError
from condgen.experiments.building import (
    Experiment,
    at_its_place,
    build,
    check_images_of,
    images_of,
    open_data,
)
from condgen.experiments.failures import training_failures
from condgen.files import as_path, tidy
from condgen.runs import Restored, Run
from condgen.training.log import Logger
from condgen.training.loop import fit_step
from condgen.training.resuming import LENGTH, is_finished, may_grow


def train(
    config: Config,
    path: Path | str,
    *,
    data_dir: Path | None = None,
    device: str = "cpu",
    resume: bool = False,
    minutes: float | None = None,
    start: Path | str | None = None,
    deterministic: bool = False,
    quiet: bool = False,
    loggers: Sequence[Logger] = (),
) -> Run:
    """Train a new run, or resume a run from its newest checkpoint.

    Args:
        config: Configuration of the experiment.
        path: Run directory.
        data_dir: As for :func:`condgen.open_dataset`.
        device: "cpu", "cuda", or "auto" for the CUDA device if there is one.
        resume: Continue the run at ``path``.
        minutes: Stop with a checkpoint after the step that reaches this limit;
            ``run.epochs_done`` and ``run.steps_done`` say how far it came.
        start: Directory of a run whose best weights training starts from, such as that of a flow
            trained by likelihood for Flow-GAN. A resumed run keeps the start that it had.
        deterministic: As for :func:`condgen.machine.prepare_device`.
        quiet: Show no progress bar.
        loggers: Receive the metrics of each epoch, such as a ``TensorBoard(path)``.

    Raises:
        ConfigError: If the device does not support the configuration.
        RunError: If ``path`` exists, or with ``resume`` holds another experiment, or the weights of
            ``start`` cannot be read or do not fit the model or its data.
    """
    check_minutes(minutes)
    if not isinstance(config, Config):
        raise ConfigError(
            f"the experiment is a {type(config).__name__}, expected a Config; `load_preset` returns"
            " one."
        )
    place, path = machine.prepare_device(device, deterministic=deterministic), as_path(path)
    with processes.joined():
        config, run, begin = processes.from_first(
            lambda: _begun(config, path, place.type, resume, start)
        )
        splits = open_data(config, data_dir)
        if run:
            check_images_of(run.config, splits, run.path)
        if begin and begin.config.data.name == config.data.name:
            check_images_of(begin.config, splits, begin.path)
        experiment = build(config, splits, place, begin)
        run = run or create_run(path, config, splits)
        run_training(experiment, run, resume=resume, minutes=minutes, quiet=quiet, loggers=loggers)
    return run


def _begun(
    config: Config, path: Path, device: str, resume: bool, start: Path | str | None
) -> tuple[Config, Run | None, Run | None]:
    """The configuration to train, the run to resume, and the run to start from."""
    if resume:
        config = config.model_copy(update={"start": Run.open(path).config.start})
        run = reopen(path, config)
        return run.config, run, None
    Run.check_free(path)
    begin = None if start is None else Run.open(start)
    if begin:
        config = config.model_copy(update={"start": begin.weights_sha256})
    return resolved(config, device), None, begin


def create_run(path: Path, config: Config, splits: Splits) -> Run:
    """Create the directory of a new run.

    Raises:
        DataError: If another process has other images.
    """
    images = images_of(splits, hashed=True)
    for number, theirs in enumerate(processes.gather(images)):
        if theirs != images:
            raise DataError(
                f"process {number} has other images of {splits.name} than process"
                f" {processes.rank()}; give all machines the same data."
            )
    return processes.from_first(
        lambda: Run.create(path, config.model_copy(update={"images": images}))
    )


def check_minutes(minutes: object) -> None:
    """Refuse an invalid time limit.

    Raises:
        ConfigError: If ``minutes`` is neither None nor a number of at least 0.
    """
    if minutes is not None and not (isinstance(minutes, int | float) and minutes >= 0):
        raise ConfigError(
            f"minutes is {minutes!r}, expected a number of at least 0, or None for no limit."
        )


def run_training(
    experiment: Experiment,
    run: Run,
    *,
    resume: bool,
    minutes: float | None,
    quiet: bool,
    loggers: Sequence[Logger] = (),
) -> None:
    """Train the parts of ``experiment`` into ``run``."""
    with ExitStack() as held, training_failures(experiment, run):
        processes.from_first(lambda: held.enter_context(run.training()))
        fit_step(
            experiment.step,
            experiment.splits.train,
            experiment.splits.validation,
            settings=run.config.training,
            directory=run.path,
            augmentation=experiment.augmentation,
            seed=run.config.seed,
            resume=resume,
            minutes=minutes,
            quiet=quiet,
            loggers=loggers,
        )
        weights = processes.from_first(lambda: run.weights_sha256)
        if processes.from_first(lambda: training_is_done(run)):
            _keep_detector(experiment, run, weights)


def _keep_detector(experiment: Experiment, run: Run, weights: str) -> None:
    """Fit and save the detector while the data is open; audits report it if this fails."""
    with suppress(CondgenError):
        run.fit_detector(Restored(experiment.classifier, weights), experiment.splits)


def resolved(config: Config, device: str = "cpu") -> Config:
    """``config`` resolved for this machine: data by absolute path, every "auto" replaced."""
    config = at_its_place(config)
    return config.model_copy(update={"model": config.model.on(device)})


def reopen(path: Path, config: Config) -> Run:
    """Open the run at ``path`` to resume it; updates its page from ``config``.

    The page gets the detector, the audits, a greater length of training, and the settings without
    effect on the weights.

    Raises:
        RunError: If the run was started with other settings than ``config``.
    """
    tidy(path.parent)  # a kill while the run was created may have left a folder there
    run = Run.open(path)
    requested = _as_begun(config, run)
    different = _differences(requested, run.config)
    if different:
        _, changes = different[0]
        sections = " and ".join(dict.fromkeys(section for section, _ in different))
        raise RunError(
            f"{path} was started with another {sections} ({', '.join(changes)}); give the same"
            " settings or another --run."
        )
    longer = run.config.training.model_copy(
        update={key: getattr(config.training, key) for key in (*LENGTH, *WITHOUT_EFFECT)}
    )
    page = run.config.model_copy(
        update={"detector": requested.detector, "audit": requested.audit, "training": longer}
    )
    return run if page == run.config else run.with_config(page)


def is_begun(path: Path, config: Config) -> bool:
    """Whether there is a run at ``path`` with the training settings of ``config``."""
    if not (path / Run.page).is_file():
        return False
    run = Run.open(path)
    return not _differences(_as_begun(config, run), run.config)


def is_trained(path: Path, config: Config) -> bool:
    """Whether the run at ``path`` has the training settings of ``config`` and is finished."""
    return is_begun(path, config) and training_is_done(Run.open(path))


def training_is_done(run: Run) -> bool:
    """Whether all epochs, or ``training.max_steps`` steps, are trained."""
    return is_finished(run.path / "checkpoint", run.config.training)


def _as_begun(config: Config, run: Run) -> Config:
    begun = run.config
    changes = {
        "model": config.model.as_begun(begun.model),
        "training": config.training.as_begun(begun.training),
    }
    return at_its_place(config.model_copy(update=changes))


def _differences(requested: Config, begun: Config) -> list[tuple[str, list[str]]]:
    """Sections that differ, and the changes in each; longer training is not a difference."""
    now, before = requested.of_training(), begun.of_training()
    growing = may_grow(begun.training, ramped=bool(getattr(begun.objective, "ramp", 0)))
    if all(
        (now["training"][key] or math.inf) >= (before["training"][key] or math.inf)
        for key in growing
    ):
        before["training"] |= {key: now["training"][key] for key in growing}
    return [
        (section, _changes(section, before[section], now[section]))
        for section in now
        if now[section] != before[section]
    ]


def _changes(name: str, before: Any, now: Any) -> list[str]:
    """The settings that differ, for example "training.epochs was 3, now 5"."""
    if not isinstance(before, dict) or not isinstance(now, dict):
        return [f"{name} was {before!r}, now {now!r}"]
    keys = dict.fromkeys([*before, *now])
    return [
        change
        for key in keys
        if before.get(key) != now.get(key)
        for change in _changes(f"{name}.{key}", before.get(key), now.get(key))
    ]
