"""The commands `study` and `demo`: many trainings and audits from one TOML file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from condgen.cli.options import (
    Finite,
    data_dir_option,
    device_option,
    overrides_option,
    threads_option,
)

if TYPE_CHECKING:
    from condgen.studies.execution import Options, Result
    from condgen.studies.plan import Plan

jobs_option = click.option(
    "--jobs",
    type=click.IntRange(min=1),
    help="Parallel steps. Default: one per core, or one per GPU.",
)


@click.command()
@click.argument("name", metavar="NAME|FILE.toml")
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for runs/ and report/.",
)
@jobs_option
@click.option(
    "--minutes",
    type=Finite(min=0),
    help="Start no step after this; 0 shows the plan and writes the report.",
)
@device_option
@click.option(
    "--scheduler", metavar="ADDRESS", help="Run the steps on the workers of this Dask scheduler."
)
@click.option(
    "--only",
    metavar="PATTERN",
    default="*",
    help="Runs such as '*-split', or steps such as '*/training'.",
)
@overrides_option
@data_dir_option
@threads_option
def study(
    name: str,
    out: Path,
    jobs: int | None,
    minutes: float | None,
    device: str,
    scheduler: str | None,
    only: str,
    overrides: tuple[str, ...],
    data_dir: Path | None,
    threads: int | None,
) -> None:
    """Train and audit all runs of a study and write a report; the same command continues.

    NAME is one of condgen's studies, or the path of a TOML file. The plan is printed first. A step
    that fails does not stop the others; failed steps are listed at the end, with exit status 1.
    """
    from condgen.reports.terminal import print_table
    from condgen.studies.execution import Options
    from condgen.studies.report import sections

    result = _run(
        name, out, overrides, Options(jobs, minutes, device, scheduler, only, data_dir, threads)
    )
    for table in (section.table for section in sections(result.plan) if section.table):
        print_table(table)
    _print_outcome(result)


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo"),
    show_default=True,
)
@overrides_option
def demo(out: Path, overrides: tuple[str, ...]) -> None:
    """Train and audit five small models on embedded data and write a report, in five minutes."""
    from condgen.reports.terminal import print_tables
    from condgen.studies.execution import Options
    from condgen.studies.report import models_of

    result = _run("demo", out, overrides, Options())
    print_tables(models_of(result.plan))
    _print_outcome(result)


def _run(name: str, out: Path, overrides: tuple[str, ...], options: Options) -> Result:
    """Print the plan and run it."""
    from condgen import machine
    from condgen.reports.terminal import print_table
    from condgen.studies.execution import run_study
    from condgen.studies.gpu_hours import LONG, gpu_words
    from condgen.studies.overview import plan_table
    from condgen.studies.study import Study

    def show(plan: Plan, words: str) -> None:
        print_table(plan_table(plan))
        click.echo(words)
        on_cpu = machine.prepare_device(options.device).type == "cpu"
        is_long = plan.seconds(plan.pending(options.only))[0] > LONG
        on_gpu = gpu_words(plan, options.data_dir, options.only) if on_cpu and is_long else ""
        if on_gpu:
            click.echo(on_gpu)

    study = Study.load(name, overrides)
    machine.prepare(options.threads_of_a_step)
    return run_study(study, out, options, show)


def _print_outcome(result: Result) -> None:
    """Print the path of the report, the steps that are left and those that failed."""
    if result.report:
        click.echo(f"Open {result.report} in a browser.")
    left = len(result.plan.pending())
    if result.failed:
        click.echo(
            f"{len(result.failed)} steps failed; {result.plan.folder / 'failed'} has the details:",
            err=True,
        )
        for step, outcome in result.failed.items():
            click.echo(f"  {step.name}: {outcome.error}", err=True)
        raise SystemExit(1)
    if left:
        click.echo(f"{left} steps are left; the same command continues.")
