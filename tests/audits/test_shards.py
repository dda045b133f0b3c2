"""Shards of attacks: read again if they are whole, else computed again."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from condgen.audits.adversarial.shards import Arrays, Shards

PLAN = {"seed": 0}
COLUMNS = ("l2", "status")
WHOLE: Arrays = {"l2": np.array([0.5, 1.0]), "status": np.array(["found", "failed"])}


def shard(directory: Path, computed: Arrays) -> Arrays:
    return Shards(directory, PLAN).get("00-mine", lambda: computed, COLUMNS, rows=2)


def altered(arrays: Arrays) -> None:
    arrays["l2"][0] = 0.25


def older(arrays: Arrays) -> None:
    del arrays["sha256"]


@pytest.mark.parametrize(("change", "is_read"), [(altered, False), (older, True)])
def test_a_shard_is_read_if_its_checksum_is_right_or_it_is_older(
    change: Callable[[Arrays], None], is_read: bool, tmp_path: Path, capfd
) -> None:
    shard(tmp_path, WHOLE)
    (path,) = tmp_path.glob("*/*.npz")
    with np.load(path) as stored:
        arrays = dict(stored)
    change(arrays)
    np.savez_compressed(path, **arrays)
    other = {**WHOLE, "l2": np.zeros(2)}
    found = shard(tmp_path, other)
    expected = WHOLE if is_read else other
    assert {name: found[name].tolist() for name in COLUMNS} == {
        name: expected[name].tolist() for name in COLUMNS
    }
    assert ("sha256 differs" in capfd.readouterr().err) is not is_read


def test_an_altered_plan_is_written_again(tmp_path: Path) -> None:
    shard(tmp_path, WHOLE)
    (path,) = tmp_path.glob("*/plan.json")
    content = path.read_bytes()
    path.write_bytes(content.replace(b"0", b"1"))
    shard(tmp_path, WHOLE)
    assert path.read_bytes() == content
