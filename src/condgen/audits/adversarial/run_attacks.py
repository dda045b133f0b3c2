"""Runs every attack on every image, in shards, with a progress bar."""

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from condgen.attacks import Attack
from condgen.audits.adversarial.rows import COLUMNS, attack_rows
from condgen.audits.adversarial.scene import Scene
from condgen.audits.adversarial.shards import SHARD, Arrays, Shards


def run_attacks(
    scene: Scene, attacks: Mapping[str, Attack], shards: Shards, quiet: bool
) -> list[Arrays]:
    """Run every attack on every goal, in shards of at most :data:`SHARD` images."""
    pieces, parts = [], np.array_split(np.arange(len(scene.x)), math.ceil(len(scene.x) / SHARD))
    cells = [(aware, place, name) for aware in (False, True) for place, name in enumerate(attacks)]
    with _progress(quiet) as bars:
        for aware, place, name in cells:
            aim = "classifier and detector" if aware else "classifier"
            task = bars.add_task(f"{name} on {aim}", total=len(scene.x), success="")
            hits = np.empty(0)
            for number, part in enumerate(parts):
                goal = "detector" if aware else "classifier"
                file = f"{place:02d}-{_slug(name)}-{goal}-{number:03d}"
                rows = partial(
                    attack_rows, scene, attacks[name], name, aware, torch.from_numpy(part), number
                )
                pieces.append(shards.get(file, rows, COLUMNS, len(part)))
                hits = np.append(hits, pieces[-1]["reached"])
                bars.update(task, completed=len(hits), success=f"{hits.mean():.0%} succeed")
    return pieces


def _slug(name: str) -> str:
    """The attack's name for a file name, which its place in the list makes unique."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower())[:40]


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
