"""Flipped bytes in the files of a run: found by whatever reads them, or without any effect."""

import json
import random
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from condgen.audits.adversarial.rows import COLUMNS
from condgen.audits.adversarial.shards import Shards
from condgen.audits.fingerprints import fingerprint
from condgen.errors import CondgenError, RunError
from condgen.runs import Run
from condgen.training.checkpoints import Checkpoint
from condgen.training.log import read_log
from condgen.training.resuming import newest_readable

FLIPS = 200

Reader = Callable[[Path, Path, Path], Any]  # an unaltered run, its copy, the name of a file


def config(whole: Path, run: Path, name: Path) -> Any:
    return Run.open(run).config.model_dump_json()


def checkpoint(whole: Path, run: Path, name: Path) -> Any:
    return vars(Checkpoint.load((run / name).parent))


def best(whole: Path, run: Path, name: Path) -> Any:
    """What audits and samples use, and what a resumed training compares with."""
    restored = Run.open(run).restored()
    state = restored.classifier.density.state_dict()
    return [
        state,
        restored.weights_sha256,
        checkpoint(whole, run, name),
        detector(whole, run, name),
    ]


def last(whole: Path, run: Path, name: Path) -> Any:
    """What a training resumes from: the checkpoint before, with a warning, if this is damaged."""
    copied = run / "copied"
    shutil.copytree(run / "checkpoint", copied)
    try:
        found, warning = newest_readable(copied)
    finally:
        shutil.rmtree(copied)
    if warning:
        before = Checkpoint.load(whole / "checkpoint" / "previous")
        assert fingerprint(vars(found)) == fingerprint(vars(before))
        raise RunError(warning)
    return vars(found)


def log(whole: Path, run: Path, name: Path) -> Any:
    return read_log(run)


def detector(whole: Path, run: Path, name: Path) -> Any:
    return vars(Run.open(run).detector())


def record(whole: Path, run: Path, name: Path) -> Any:
    return vars(Run.open(run).record(name.name.partition(".")[0]))


def shard(whole: Path, run: Path, name: Path) -> Any:
    """The shard that another audit with the same plan reads."""

    def compute() -> Any:
        raise RunError("the shard is damaged and is computed again")

    plan = json.loads((whole / name.parent / "plan.json").read_text())
    rows = Run.open(whole).record("adversarial").summary["n"]
    return Shards((run / name).parents[1], plan).get(name.stem, compute, COLUMNS, rows)


def plan(whole: Path, run: Path, name: Path) -> Any:
    """The description of the shards, which another audit with this plan writes again."""
    content = (whole / name).read_bytes()
    Shards((run / name).parents[1], json.loads(content))
    assert (run / name).read_bytes() == content


READERS: Mapping[str, Reader] = {
    "config.toml": config,
    "metrics.jsonl": log,
    "detector.*": detector,
    "checkpoint/best/*": best,
    "checkpoint/last/*": last,
    "checkpoint/previous/*": checkpoint,
    "checkpoint/snapshots/*/*": checkpoint,
    "records/*.json": record,
    "records/*.npz": record,
    "records/adversarial/*/*.npz": shard,
    "records/adversarial/*/plan.json": plan,
}


def readers_of(run: Path) -> dict[Path, Reader]:
    """The reader of each file of a run, without lock files, which are empty."""
    names = [path.relative_to(run) for path in sorted(run.rglob("*")) if path.is_file()]
    filled = [name for name in names if (run / name).stat().st_size]
    matches = {
        name: [
            reader
            for pattern, reader in READERS.items()
            if name.match(pattern) and len(name.parts) == len(Path(pattern).parts)
        ]
        for name in filled
    }
    assert all(len(found) == 1 for found in matches.values()), "a file without a reader"
    return {name: reader for name, (reader,) in matches.items()}


def flipped(content: bytes, draw: random.Random) -> bytes:
    """The content with one bit flipped, or one byte replaced."""
    place = draw.randrange(len(content))
    bit, value = 1 << draw.randrange(8), draw.randrange(1, 256)
    altered = bytearray(content)
    altered[place] ^= draw.choice([bit, value])
    return bytes(altered)


def unnoticed(whole: Path, run: Path, number: int, seed: int) -> tuple[int, list[str]]:
    """Flip bytes of ``run``, a copy of ``whole``, one at a time.

    Returns:
        The number of flips without effect, and those with one that no reader found.
    """
    draw, harmless, wrong = random.Random(seed), 0, []
    readers = readers_of(whole)
    expected = {name: fingerprint(reader(whole, whole, name)) for name, reader in readers.items()}
    for _ in range(number):
        kind = draw.choice(list(dict.fromkeys(readers.values())))
        name = draw.choice([name for name, reader in readers.items() if reader is kind])
        content = (whole / name).read_bytes()
        altered = flipped(content, draw)
        (run / name).write_bytes(altered)
        try:
            same = fingerprint(readers[name](whole, run, name)) == expected[name]
        except CondgenError:
            continue
        finally:
            (run / name).write_bytes(content)
        harmless += same
        if not same:
            place = next(
                i for i, pair in enumerate(zip(content, altered, strict=True)) if pair[0] != pair[1]
            )
            wrong.append(f"{name} at {place}: {content[place]} became {altered[place]}")
    return harmless, wrong


def test_no_flipped_byte_changes_what_is_read(trained: Run, copied: Run) -> None:
    harmless, wrong = unnoticed(trained.path, copied.path, FLIPS, seed=0)
    assert not wrong
    assert harmless < FLIPS / 4
