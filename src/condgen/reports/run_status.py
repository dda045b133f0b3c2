"""Runs in the terminal: a table of many, and a live picture of one."""

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from condgen.errors import CondgenError
from condgen.files import as_json
from condgen.reports.console import show
from condgen.reports.terminal_plots import Points, plot
from condgen.runs.listing import Status, partial_epoch, status_of
from condgen.training.log import read_log
from condgen.training.progress import duration

STYLES = {"running": "green", "stopped": "yellow", "done": "", "damaged": "red"}
COLUMNS = ("run", "state", "epochs", "steps", "left", "acc. %", "bits/dim", "audits")
WORDS = 2  # columns of words; the others hold numbers
TITLES = {"loss": "loss", "bits_per_dim": "bits/dim", "accuracy": "accuracy %"}
ALONE = "gradient_norm"  # plotted although it has no validation metric
NOTHING = "No epoch is done, and no checkpoint is written yet."
WIDE, LOWEST = 70, 6  # columns for two plots in a row; lines of a plot


def as_line(status: Status) -> dict[str, Any]:
    """A status as a JSON table."""
    table: dict[str, Any] = as_json({**dataclasses.asdict(status), "path": str(status.path)})
    return table


def print_statuses(folder: Path, statuses: Sequence[Status]) -> None:
    """Print a row for each run without empty columns, and the reason of each damage below."""
    rows = [_row(status, folder) for status in statuses]
    kept = [place for place in range(len(COLUMNS)) if any(row[place] for row in rows)]
    table = Table(box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    for place in kept:
        table.add_column(COLUMNS[place], justify="left" if place < WORDS else "right")
    for row in rows:
        styles = ["", STYLES[row[1]], *[""] * len(row)]
        table.add_row(*(Text(row[place], styles[place]) for place in kept))
    show(table)
    for status in statuses:
        if status.reason:
            Console(soft_wrap=True).print(f"{_name(status, folder)}: {status.reason}", markup=False)


def _name(status: Status, folder: Path) -> str:
    name = str(status.path.relative_to(folder))
    return status.path.resolve().name if name == "." else name


def _row(status: Status, folder: Path) -> tuple[str, ...]:
    name = _name(status, folder)
    if status.state == "damaged":
        return (name, status.state, *[""] * (len(COLUMNS) - WORDS))
    return (
        name,
        status.state,
        f"{status.epoch}/{status.epochs}",
        f"{status.step}/{status.steps or '?'}",
        "" if status.seconds_left is None else duration(status.seconds_left),
        "" if status.accuracy is None else f"{100 * status.accuracy:.1f}",
        "" if status.bits_per_dim is None else f"{status.bits_per_dim:.3f}",
        str(len(status.audits)),
    )


def sentence(status: Status) -> Text:
    """The state and progress of a run in one line."""
    text = Text(f"{status.path}: ").append(status.state, f"bold {STYLES[status.state]}")
    if status.state == "damaged":
        return text.append(f" · {status.reason}")
    share = f" ({status.step / status.steps:.0%})" if status.steps else ""
    parts = [
        f"epoch {status.epoch} of {status.epochs}",
        f"step {status.step} of {status.steps or '?'}{share}",
    ]
    if status.seconds_left is not None:
        parts.append(f"{duration(status.seconds_left)} left")
    if status.bits_per_dim is not None:
        parts.append(f"best {status.bits_per_dim:.3f} bits/dim")
    if status.accuracy is not None:
        parts.append(f"{status.accuracy:.1%}")
    return text.append("".join(f" · {part}" for part in parts))


def picture(path: Path, width: int, height: int) -> tuple[Status, RenderableType]:
    """The status of a run, and its plots in ``width`` x ``height`` characters."""
    status = status_of(path)
    heading = sentence(status)
    if status.state == "damaged":
        return status, heading
    lines, part = read_log(path), {}
    with suppress(CondgenError):  # a checkpoint that is just being replaced
        part = partial_epoch(path, lines)
    curves = _curves(lines, part)
    if not curves:
        return status, Group(heading, Text(NOTHING, "dim"))
    per_row = 2 if width >= WIDE else 1
    room = height - 1 - len(heading) // width - 1
    rows = max(1, min(-(-len(curves) // per_row), room // LOWEST))
    grid = Table.grid(padding=(0, 1))
    plots = [
        plot(title, line, marks, width // per_row - 2, max(LOWEST, room // rows))
        for title, line, marks in curves[: rows * per_row]
    ]
    for first in range(0, len(plots), per_row):
        grid.add_row(*plots[first : first + per_row])
    return status, Group(heading, grid)


def _curves(
    lines: Sequence[Mapping[str, Any]], part: Mapping[str, float]
) -> list[tuple[str, Points, Points]]:
    """Title, training points and validation points of each metric to plot."""
    last = lines[-1] if lines else part
    validated = [key.removeprefix("validation_") for key in last if key.startswith("validation_")]
    names = [name for name in TITLES if name in validated or name in last]
    names += [name for name in validated if name not in TITLES]
    names += [ALONE] if ALONE in last else []
    return [
        (
            TITLES.get(name, name.replace("_", " ")),
            _points([*lines, part], name, name),
            _points(lines, f"validation_{name}", name),
        )
        for name in names
    ]


def _points(lines: Sequence[Mapping[str, Any]], key: str, name: str) -> Points:
    scale = 100 if name == "accuracy" else 1
    return [
        (line["step"], scale * line[key])
        for line in lines
        if isinstance(line.get(key), int | float) and "step" in line
    ]
