"""Audits and studies that are killed at random moments end as uninterrupted ones do."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from condgen.files import WORK, locked
from condgen.runs import Run
from tests import killing
from tests.training.small import assert_same, last

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def assert_same_records(one: Path, other: Path) -> None:
    runs = Run.open(one), Run.open(other)
    assert runs[0].audits_made() == runs[1].audits_made() != []
    for name in runs[0].audits_made():
        first, second = (run.record(name) for run in runs)
        assert first.summary == second.summary
        timed = {"seconds", "date"}
        assert {key: first.origin[key] for key in first.origin.keys() - timed} == {
            key: second.origin[key] for key in second.origin.keys() - timed
        }
        assert first.arrays.keys() == second.arrays.keys()
        for key, array in first.arrays.items():
            np.testing.assert_array_equal(array, second.arrays[key])


def assert_nothing_is_left(whole: Path, parts: Path) -> None:
    """No temporary folder or note is left by a kill, and no lock is held."""
    names = [{str(path.relative_to(top)) for path in top.rglob("*")} for top in (whole, parts)]
    assert names[0] == names[1]
    assert not [name for name in names[1] if WORK.search(name)]
    for path in parts.rglob(".*.lock"):
        with locked(path, f"{path} is held."):
            pass


def test_an_audit_killed_at_random_moments_loses_a_shard_at_a_time(tmp_path: Path) -> None:
    kills = killing.interrupted("audit", tmp_path, 20)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert_same_records(whole, parts)
    assert_nothing_is_left(whole, parts)
    computed = [Counter((run / killing.COMPUTED).read_text().split()) for run in (whole, parts)]
    assert set(computed[0].values()) == {1}
    assert computed[0].keys() == computed[1].keys()
    assert len(computed[0]) >= 10
    assert computed[1].total() <= computed[0].total() + kills
    assert kills >= 10  # the others came after the end


def test_a_study_killed_at_random_moments_ends_as_an_uninterrupted_one(tmp_path: Path) -> None:
    kills = killing.interrupted("study", tmp_path, 8)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert_nothing_is_left(whole, parts)
    assert not list((parts / "running").iterdir())
    for run in (whole / "runs").iterdir():
        assert_same_records(run, parts / "runs" / run.name)
        assert_same(last(run).weights, last(parts / "runs" / run.name).weights)
    assert kills >= 4
