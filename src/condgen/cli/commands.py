"""The commands of `condgen`: each parses arguments, calls the library and prints the result."""

from __future__ import annotations

import math
import shlex
from pathlib import Path

import click

from condgen.cli.group import Group
from condgen.cli.inspecting import check, describe, sample, score, show
from condgen.cli.options import (
    Finite,
    data_dir_option,
    deterministic_option,
    device_option,
    overrides_option,
    seed_option,
    threads_option,
)
from condgen.cli.study import demo, study
from condgen.cli.theory import theory
from condgen.cli.watching import list_runs, watch
from condgen.errors import ConfigError
from condgen.registry import AUDITS


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="condgen")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(debug: bool) -> None:
    """Can the likelihood of a class-conditional generative model be trusted to detect outliers?"""


@main.command()
@click.argument("preset", metavar="PRESET|FILE.toml")
@overrides_option
@click.option(
    "--run",
    "--run-dir",
    "path",
    type=click.Path(path_type=Path),
    help="New run directory. Default: runs/PRESET. Under torchrun use --run-dir.",
)
@seed_option
@click.option("--resume", is_flag=True, help="Continue from the newest checkpoint of --run.")
@click.option(
    "--from",
    "start",
    metavar="RUN",
    type=click.Path(path_type=Path),
    help="Start from the weights of this run, such as Flow-GAN from a flow; --resume keeps them.",
)
@click.option(
    "--minutes",
    type=Finite(min=0),
    help="Stop after the step that reaches this limit; --resume continues there.",
)
@click.option("--tensorboard", is_flag=True, help="Write events to RUN/tensorboard as well.")
@data_dir_option
@device_option
@deterministic_option
@threads_option
def train(
    preset: str,
    overrides: tuple[str, ...],
    path: Path | None,
    seed: int,
    resume: bool,
    start: Path | None,
    minutes: float | None,
    tensorboard: bool,
    data_dir: Path | None,
    device: str,
    deterministic: bool,
    threads: int | None,
) -> None:
    """Train the model of PRESET, or of your own TOML file, into a run directory."""
    from condgen import experiments, machine, torchrun
    from condgen.config import load_preset
    from condgen.training.tensorboard import TensorBoard

    config = load_preset(preset, overrides, seed)
    machine.prepare(threads)
    path = path or Path("runs") / config.preset
    run = experiments.train(
        config,
        path,
        data_dir=data_dir,
        device=device,
        resume=resume,
        minutes=minutes,
        start=start,
        loggers=[TensorBoard(path)] if tensorboard else (),
        deterministic=deterministic,
    )
    if torchrun.number() > 0:  # the first one reports
        return
    if experiments.is_trained(run.path, config):
        click.echo(f"{path} is trained; next: condgen audit {path}")
        return
    options = {
        "--seed": seed,
        "--minutes": minutes,
        "--data-dir": data_dir,
        "--device": device,
        "--threads": threads,
    }
    given = [*(("--set", setting) for setting in overrides), *options.items(), ("--run-dir", path)]
    words = [str(word) for option, value in given if value is not None for word in (option, value)]
    words += ["--tensorboard"] if tensorboard else []
    words += ["--deterministic"] * deterministic
    again = shlex.join(["condgen", "train", preset, *words, "--resume"])
    again = f"torchrun ... -m {again}" if torchrun.started() > 1 else again
    click.echo(
        f"{path} has {run.epochs_done} of {config.training.epochs} epochs and {run.steps_done}"
        f" steps; continue with: {again}"
    )


@main.command()
@click.argument("run", type=click.Path(path_type=Path), required=False)
@click.option(
    "--model",
    metavar="MODULE:FACTORY",
    help="Audit your own model instead of RUN; see docs/extending.md.",
)
@click.option("--data", metavar="NAME", help="With --model: the data set.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="With --model: folder for the records.",
)
@click.option(
    "--only",
    multiple=True,
    metavar="AUDIT",
    help=f"Repeatable: {', '.join(AUDITS.names())}. Default: all.",
)
@click.option(
    "--budget",
    metavar="NAME",
    help="Short for --set audit.budget=NAME: smoke, quick, standard or paper.",
)
@overrides_option
@seed_option
@data_dir_option
@device_option
@deterministic_option
@threads_option
def audit(
    run: Path | None,
    model: str | None,
    data: str | None,
    out: Path | None,
    only: tuple[str, ...],
    budget: str | None,
    overrides: tuple[str, ...],
    seed: int,
    data_dir: Path | None,
    device: str,
    deterministic: bool,
    threads: int | None,
) -> None:
    """Audit the model of RUN, or your own model, and save the records.

    --set takes settings of the detector and the audits.
    """
    from condgen import experiments, machine, torchrun
    from condgen.config import subject_config
    from condgen.reports.terminal import print_record
    from condgen.runs import Run, open_folder

    overrides = (*overrides, *((f"audit.budget={budget}",) if budget else ()))
    if model is not None:
        if run is not None or data is None or out is None:
            raise click.UsageError("--model needs --data NAME and --out DIR, and no RUN.")
        config = subject_config(
            {"model": {"name": model}, "data": {"name": data}}, overrides, seed=seed
        )
        machine.prepare(threads)
        experiments.audit_model(
            config,
            out,
            only or None,
            data_dir=data_dir,
            device=device,
            deterministic=deterministic,
            done=print_record,
        )
        if torchrun.number() == 0:
            click.echo(f"{out} is audited; next: condgen report {out} --out report")
        return
    if run is None or data is not None or out is not None:
        raise click.UsageError("give RUN; --data and --out need --model.")
    machine.prepare(threads)
    folder = open_folder(run)
    if (
        torchrun.number() == 0
        and isinstance(folder, Run)
        and folder.epochs_done > 0
        and not experiments.is_trained(run, folder.config)
    ):
        click.echo(
            f"condgen: {run} has {folder.epochs_done} of {folder.config.training.epochs} epochs"
            " so far.",
            err=True,
        )
    experiments.audit(
        folder,
        only or None,
        overrides=overrides,
        data_dir=data_dir,
        device=device,
        deterministic=deterministic,
        done=print_record,
    )


@main.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder for the page, figures and tables.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="detector.threshold=VALUE",
    help="Recompute the records for this threshold.",
)
@click.option("--counterexample", is_flag=True, help="Add the counterexample of Section 2.")
@click.option("--claims", is_flag=True, help="Add the paper's claims with a verdict on each.")
def report(
    runs: tuple[Path, ...],
    out: Path,
    overrides: tuple[str, ...],
    counterexample: bool,
    claims: bool,
) -> None:
    """Write a self-contained page from the records of RUNS.

    With several RUNS, folders that are not runs are left out.
    """
    from condgen.reports import write_report
    from condgen.runs import is_folder, open_folder

    threshold = _threshold(overrides)
    others = [run for run in runs if run.exists() and not is_folder(run)]
    if len(others) == len(runs):
        others = []  # the error says what is expected
    for other in others:
        click.echo(f"condgen: {other} is not a run directory; left out.", err=True)
    folders = [open_folder(run) for run in runs if run not in others]
    page = write_report(
        folders, out, counterexample=counterexample, claims=claims, threshold=threshold
    )
    click.echo(f"{page} is written; open it in a browser.")


def _threshold(overrides: tuple[str, ...]) -> float | None:
    """Parse detector.threshold, the only setting that records can be recomputed for."""
    value = None
    for override in overrides:
        key, _, text = override.partition("=")
        if key.strip() != "detector.threshold":
            raise ConfigError(
                f"'--set {override}' needs a new audit: a report recomputes records for"
                " detector.threshold only."
            )
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise ConfigError(
                f"detector.threshold = '{text}' does not fit: a report needs a number;"
                " a quantile needs a new audit."
            )
    return value


@click.command()
def presets() -> None:
    """List the presets."""
    from condgen.config import preset_names

    for name in preset_names():
        click.echo(name)


for command in (
    *(list_runs, watch, sample, score, show, describe, check, presets, theory, study, demo),
):
    main.add_command(command)
