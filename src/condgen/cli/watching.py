"""The commands that look at trainings while they run: runs, watch."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from condgen.cli.options import run_argument

SECONDS = 2.0  # between two pictures


@click.command("runs")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path), default=Path("runs"))
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON for each run.")
def list_runs(folder: Path, as_json: bool) -> None:
    """List the runs below DIR (default: runs) with state, progress, time left and metrics."""
    from condgen.reports.run_status import as_line, print_statuses
    from condgen.runs.listing import find_runs, status_of

    statuses = [status_of(path) for path in find_runs(folder)]
    if as_json:
        for status in statuses:
            click.echo(json.dumps(as_line(status)))
    elif statuses:
        print_statuses(folder, statuses)
    else:
        click.echo(f"{folder} has no runs; `condgen train PRESET --run {folder}/NAME` makes one.")


@click.command()
@run_argument
@click.option("--once", is_flag=True, help="Draw one picture, as if stdout is no terminal.")
def watch(run: Path, once: bool) -> None:
    """Plot the metrics of RUN while it is trained; ends with the training or at Ctrl-C."""
    from rich.console import Console
    from rich.live import Live

    from condgen.reports.run_status import picture
    from condgen.runs import Run

    console = Console()
    if not (run / Run.page).is_file():
        Run.open(run)  # says what is missing
    status, drawn = picture(run, console.width, console.height - 1)
    if once or not console.is_terminal or status.state != "running":
        console.print(drawn)
        return
    try:
        with Live(drawn, console=console, auto_refresh=False) as live:
            while status.state == "running":
                time.sleep(SECONDS)
                status, drawn = picture(run, console.width, console.height - 1)
                live.update(drawn, refresh=True)
    except KeyboardInterrupt:
        return
