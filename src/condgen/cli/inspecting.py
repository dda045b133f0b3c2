"""The commands that look at a trained model or a data set: sample, score, show, describe, check."""

from __future__ import annotations

from pathlib import Path

import click

from condgen.cli.options import (
    Finite,
    data_dir_option,
    device_option,
    overrides_option,
    run_argument,
    seed_option,
    threads_option,
)


@click.command()
@run_argument
@click.option("--label", type=int, help="Class to draw. Default: a row of each.")
@click.option(
    "--count", type=click.IntRange(1, 1000), default=10, show_default=True, help="Images per class."
)
@click.option("--temperature", type=Finite(min=0), default=1.0, show_default=True)
@seed_option
@click.option("--out", required=True, type=click.Path(path_type=Path), help="PNG file to write.")
@data_dir_option
def sample(
    run: Path,
    label: int | None,
    count: int,
    temperature: float,
    seed: int,
    out: Path,
    data_dir: Path | None,
) -> None:
    """Draw images from the model of RUN, a row for each class."""
    from condgen import experiments, machine
    from condgen.reports.images import check_picture, save_grid
    from condgen.runs import open_folder

    check_picture(out)
    machine.prepare()
    images, row_names = experiments.sample(
        open_folder(run), label, count, temperature, seed, data_dir
    )
    save_grid(images, row_names, out)
    click.echo(f"{out} is written.")


@click.command()
@run_argument
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="CSV file to write.")
@device_option
@threads_option
def score(run: Path, images: tuple[Path, ...], out: Path, device: str, threads: int | None) -> None:
    """Score image files, or folders of them, with the model and the detector of RUN.

    The training data is not needed.
    """
    from condgen import experiments, machine
    from condgen.runs import open_folder

    machine.prepare(threads)
    done = experiments.score_files(open_folder(run), images, out, device=device)
    detector = done.detector
    name, unit = detector.name or type(detector).__name__, detector.unit or "no unit"
    click.echo(
        f"{out} is written: {done.scored} images scored, {done.unreadable} could not be scored."
        f" score: {name}, {unit}; threshold {detector.threshold:g}."
    )
    if done.left_out:
        kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(done.left_out.items()))
        click.echo(f"condgen: files that are not images were left out: {kinds}.", err=True)


@click.command()
@click.argument("dataset")
@click.option(
    "--count", type=click.IntRange(1, 100), default=10, show_default=True, help="Images per class."
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="PNG file for a labelled grid of images."
)
@click.option(
    "--size", type=click.IntRange(min=1), help="Resize and center-crop to this height and width."
)
@data_dir_option
def show(
    dataset: str, count: int, out: Path | None, size: int | None, data_dir: Path | None
) -> None:
    """Print a summary of DATASET, and the bits/dim of simple densities on its test images."""
    from condgen import machine
    from condgen.data.catalogue import open_dataset
    from condgen.experiments import simple_densities
    from condgen.reports.console import print_rows
    from condgen.reports.images import check_picture, save_labelled_grid

    if out:
        check_picture(out)
    machine.prepare()
    splits = open_dataset(dataset, data_dir=data_dir, size=size)
    if out:
        save_labelled_grid(splits.train, count, out)
    simple = [
        (name, f"{value:.3f} bits/dim (test)") for name, value in simple_densities(splits).items()
    ]
    print_rows(splits.name, [*splits.rows(), *simple])


@click.command()
@click.argument("target", metavar="PRESET|FILE.toml|RUN")
@overrides_option
@data_dir_option
def describe(target: str, overrides: tuple[str, ...], data_dir: Path | None) -> None:
    """Print the model summary of PRESET or RUN: shapes, parameters, FLOPs and memory per image."""
    from condgen import experiments, machine
    from condgen.config import load_preset
    from condgen.reports.console import print_rows
    from condgen.runs import open_folder

    machine.prepare()
    is_run = Path(target).is_dir()
    if is_run and overrides:
        raise click.UsageError("--set needs a preset; the settings of a run are fixed.")
    config = open_folder(target).config if is_run else load_preset(target, overrides)
    print_rows(config.preset or target, experiments.summarize(config, data_dir).rows())


@click.command()
@run_argument
@data_dir_option
def check(run: Path, data_dir: Path | None) -> None:
    """Check the model of RUN on its own samples.

    Checks the round trip, the log-determinant, float32 against float64, and the gradient.
    """
    from condgen import experiments, machine
    from condgen.reports.terminal import print_checks
    from condgen.runs import open_folder

    machine.prepare()
    checks = experiments.check(open_folder(run), data_dir)
    print_checks(checks)
    if any(check.passed is False for check in checks):  # None: not measured
        raise SystemExit(1)
