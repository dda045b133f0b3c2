"""Runs every attack on every image, in shards, with a progress bar."""

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from condgen import processes
from condgen.attacks import Attack
from condgen.audits.adversarial.rows import COLUMNS, attack_rows
from condgen.audits.adversarial.scene import Scene
from condgen.audits.adversarial.shards import SHARD, Arrays, Shards


@dataclass(frozen=True)
class Part:
    """One shard to compute: an attack, its place among them, its goal, and some images.

    Args:
        cell: Attack and goal, whose shards share a progress bar.
        number: Number of the shard in its cell.
        rows: The images, by their place in the scene.
    """

    cell: tuple[bool, int, str]
    number: int
    rows: NDArray[np.int64]

    @property
    def file(self) -> str:
        """The name of the file, which the attack's place makes unique."""
        aware, place, name = self.cell
        slug = re.sub(r"[^a-z0-9]+", "-", name.lower())[:40]
        return f"{place:02d}-{slug}-{'detector' if aware else 'classifier'}-{self.number:03d}"


def run_attacks(
    scene: Scene, attacks: Mapping[str, Attack], shards: Shards, quiet: bool
) -> list[Arrays]:
    """Run every attack on every goal, in shards of at most :data:`SHARD` images.

    Processes share the shards.
    """
    rows = np.array_split(np.arange(len(scene.x)), math.ceil(len(scene.x) / SHARD))
    cells = [(aware, place, name) for aware in (False, True) for place, name in enumerate(attacks)]
    parts = [Part(cell, number, part) for cell in cells for number, part in enumerate(rows)]

    def compute(part: Part) -> Arrays:
        aware, _, name = part.cell
        images = torch.from_numpy(part.rows)
        work = partial(attack_rows, scene, attacks[name], name, aware, images, part.number)
        return shards.get(part.file, work, COLUMNS, len(images))

    with _progress(quiet) as bars:
        hits: dict[tuple[bool, int, str], list[bool]] = {}
        tasks: dict[tuple[bool, int, str], TaskID] = {}

        def show(number: int, found: Arrays) -> None:
            cell = parts[number].cell
            if cell not in tasks:
                aim = "classifier and detector" if cell[0] else "classifier"
                tasks[cell] = bars.add_task(f"{cell[2]} on {aim}", total=len(scene.x), success="")
            found_here = hits.setdefault(cell, [])
            found_here += found["reached"].tolist()
            success = f"{np.mean(found_here):.0%} succeed"
            bars.update(tasks[cell], completed=len(found_here), success=success)

        return processes.share_work(
            compute, parts, cost=lambda part: _cost(attacks[part.cell[2]]), done=show
        )


def _cost(attack: Attack) -> float:
    """Relative cost of an attack on an image; a gradient costs twice as much as a query."""
    queries, gradients = attack.passes()
    return queries + 2 * gradients


@contextmanager
def _progress(quiet: bool) -> Iterator[Progress]:
    columns = (
        TextColumn("{task.description:<44}"),
        BarColumn(20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[success]}"),
    )
    with Progress(
        *columns, TimeElapsedColumn(), console=Console(stderr=True), disable=quiet
    ) as bars:
        yield bars
