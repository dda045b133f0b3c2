"""The main job on embedded data: four small models trained and audited side by side, and one report."""

import json
import multiprocessing
import time
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from condgen import experiments, machine
from condgen.config import AUDITS, load_preset
from condgen.reports import write_report
from condgen.reports.tables import attacks_table, checks_table, classification_table, interpolation_table, membership_table
from condgen.reports.terminal import print_table
from condgen.runs import Run

ATTACKED = ("digits-reweight", "digits-split")
PRESETS = ("digits-base", "digits-reweight", "digits-split", "bg-digits-reweight")
POLL_SECONDS = 0.5


def run_demo(out: Path, overrides: tuple[str, ...] = ()) -> Path:
    """Train, audit and report the four presets under ``out``; what an earlier, interrupted demo finished is kept.

    Args:
        out: Takes ``runs/`` and ``report/``.
        overrides: Settings to replace in every preset.

    Returns:
        The path of the report's page.
    """
    paths = {preset: out / "runs" / preset for preset in PRESETS}
    workers = min(machine.usable_cores(), len(PRESETS))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        longest_first = sorted(PRESETS, key=lambda preset: preset not in ATTACKED)
        jobs = {preset: pool.submit(_train_and_audit, preset, paths[preset], overrides) for preset in longest_first}
        try:
            _watch(jobs, paths)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in multiprocessing.active_children():
                worker.terminate()
            raise
    runs = [Run.open(path) for path in paths.values()]
    for table in (classification_table(runs), membership_table(runs), interpolation_table(runs)):
        print_table(table)
    summaries = {run.name: run.record("adversarial").summary for run in runs if run.has("adversarial")}
    print_table(attacks_table(summaries))
    print_table(checks_table(summaries))
    return write_report(runs, out / "report")


def _train_and_audit(preset: str, path: Path, overrides: tuple[str, ...]) -> None:
    machine.prepare(threads=1)
    run = experiments.train(load_preset(preset, overrides), path, resume=path.exists(), quiet=True)
    experiments.audit(run, [name for name in AUDITS if name != "adversarial" or preset in ATTACKED], quiet=True)


def _watch(jobs: dict[str, Future[None]], paths: dict[str, Path]) -> None:
    """Show each run's progress until all are done; after an error no further run is started, and the error is raised."""
    columns = (TextColumn("{task.description:<20}"), BarColumn(10), MofNCompleteColumn(), TextColumn("{task.fields[figures]}"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as bars:
        tasks = {preset: bars.add_task(preset, total=None, figures="waiting", start=False) for preset in jobs}
        running = True
        while running:
            running = not all(job.done() for job in jobs.values())
            for preset, job in jobs.items():
                _update(bars, tasks[preset], job, paths[preset])
            if any(_error(job) for job in jobs.values()):
                for job in jobs.values():
                    job.cancel()
            time.sleep(POLL_SECONDS)
    for error in filter(None, map(_error, jobs.values())):
        raise error


def _error(job: Future[None]) -> BaseException | None:
    return job.exception() if job.done() and not job.cancelled() else None


def _update(bars: Progress, task: Any, job: Future[None], path: Path) -> None:
    if job.running() or job.done():
        bars.start_task(task)
    try:
        line: dict[str, Any] = json.loads((path / "metrics.jsonl").read_text().splitlines()[-1])
    except (OSError, IndexError, json.JSONDecodeError):
        return  # not begun, or a line is being written right now
    figures = f"{line['validation_bits_per_dim']:.3f} bits/dim, {line['validation_accuracy']:.1%}"
    bars.update(task, completed=line["epoch"], total=line["epochs"], figures=figures + (" · audited" if job.done() else ""))
    if job.done():
        bars.stop_task(task)
