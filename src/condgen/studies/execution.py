"""Execution of a study from plan to report, on local processes or on a Dask cluster."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from condgen import machine
from condgen.errors import ConfigError
from condgen.files import tidy
from condgen.studies.overview import plan_words
from condgen.studies.plan import Plan, make_plan
from condgen.studies.progress import StudyProgress
from condgen.studies.report import models_of, write_study_report
from condgen.studies.running import run_steps
from condgen.studies.steps import Outcome, Setting, Step, note
from condgen.studies.study import Study
from condgen.studies.workers import LocalWorkers, dask_workers


@dataclass(frozen=True)
class Options:
    """How to run a study.

    Args:
        jobs: Steps at a time. Default: the usable cores, or the number of GPUs.
        minutes: Time limit; no step starts after it.
        device: "cpu", "cuda", or "auto" for CUDA devices if there are any.
        scheduler: Address of a Dask scheduler whose workers run the steps and see the same files.
        only: Pattern of the runs or steps to run; see :meth:`condgen.studies.plan.Plan.pending`.
        data_dir: As for :func:`condgen.open_dataset`.
        threads: CPU threads of a step. Default: the usable cores divided by the jobs; on a cluster,
            a worker's free cores.
        quiet: Show no progress.
    """

    jobs: int | None = None
    minutes: float | None = None
    device: str = "cpu"
    scheduler: str | None = None
    only: str = "*"
    data_dir: Path | None = None
    threads: int | None = None
    quiet: bool = False

    def __post_init__(self) -> None:
        if self.scheduler and self.jobs:
            raise ConfigError(
                f"--jobs {self.jobs} is for local processes, but a Dask cluster runs one step per"
                " worker; leave out --jobs."
            )

    @property
    def local_jobs(self) -> int:
        """Steps at a time on this machine."""
        on_gpu = machine.prepare_device(self.device).type == "cuda"
        return self.jobs or (torch.cuda.device_count() if on_gpu else machine.usable_cores())

    @property
    def threads_of_a_step(self) -> int | None:
        if self.threads or self.scheduler:
            return self.threads
        return max(1, machine.usable_cores() // self.local_jobs)


@dataclass(frozen=True)
class Result:
    """The state of a study after a call.

    Args:
        plan: The steps that are done, and those that are left.
        outcomes: How each step of this call ended.
        report: The page; ``None`` if there is nothing to report yet.
    """

    plan: Plan
    outcomes: dict[Step, Outcome]
    report: Path | None

    @property
    def failed(self) -> dict[Step, Outcome]:
        """The steps that failed."""
        return {
            step: outcome for step, outcome in self.outcomes.items() if outcome.ending == "failed"
        }


def run_study(
    study: Study,
    folder: Path,
    options: Options = Options(),
    planned: Callable[[Plan, str], None] | None = None,
) -> Result:
    """Run the steps of a study that are not done yet, and write its report.

    Args:
        study: The runs, audits and comparisons.
        folder: Holds ``runs/``, ``report/`` and notes on failed steps; another call continues.
        options: Workers, time and device.
        planned: Called before the first step with the plan and a one-sentence summary.

    Returns:
        The state of the study, with the steps that failed.

    Raises:
        ConfigError: If an option cannot be met.
    """
    until = None if options.minutes is None else time.time() + 60 * options.minutes
    folder = folder.resolve()
    data_dir = options.data_dir and options.data_dir.resolve()
    plan = make_plan(
        study, folder, data_dir, options.device, timed="" if options.scheduler else options.only
    )
    _tidy(plan)
    steps = plan.pending(options.only)
    setting = Setting(folder, data_dir, options.device, options.threads_of_a_step, until)
    with _workers(options, len(steps)) as (executor, jobs):
        if planned:
            planned(plan, plan_words(plan, steps, jobs))
        with StudyProgress(len(steps), setting, quiet=options.quiet or not steps) as progress:
            outcomes = run_steps(steps, executor, setting, progress)
    plan = make_plan(study, folder, data_dir, options.device)
    return Result(plan, outcomes, _report(plan, folder / "report"))


def _tidy(plan: Plan) -> None:
    """Remove what killed processes left behind in steps that are done."""
    for run in plan.runs:
        for place in (run.path, run.path / "checkpoint", run.path / "records"):
            tidy(place)
        for planned in run.steps:
            if planned.state == "done":
                note(plan.folder, planned.step, "running").unlink(missing_ok=True)


@contextmanager
def _workers(options: Options, steps: int) -> Iterator[tuple[Executor, int]]:
    """The executor and its number of parallel steps; an error or interrupt ends local processes."""
    if options.scheduler:
        with dask_workers(options.scheduler) as (executor, jobs):
            yield executor, jobs
        return
    jobs = max(1, min(options.local_jobs, steps))
    workers = LocalWorkers(jobs, None if options.device == "cpu" else choose_gpu)
    try:
        yield workers, jobs
    except BaseException:
        workers.shutdown(wait=False)
        raise
    workers.shutdown()


def choose_gpu(number: int) -> None:
    """Select the GPU of a process: its number modulo the number of GPUs."""
    if (devices := torch.cuda.device_count()) > 1:
        torch.cuda.set_device(number % devices)


def _report(plan: Plan, directory: Path) -> Path | None:
    """Write the page if a run has a record."""
    if not models_of(plan):
        return None
    return write_study_report(plan, directory)
