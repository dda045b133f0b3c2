"""Records: written atomically, and damage is detected."""

import json
import multiprocessing
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from condgen.audits.records import Record, audit_lock, records_in
from condgen.config.older import upgraded
from condgen.errors import CondgenError, RunError
from condgen.files import atomic_write
from condgen.registry import AUDITS

SUMMARY = {
    "n": 4,
    "accuracy": 0.497,
    "accuracy_ci": [0.446, 0.548],
    "detector": {"name": "likelihood", "threshold": 1.5},
}
RECORD = Record(
    "classification",
    SUMMARY,
    {"score": np.linspace(0, 1, 40), "label": np.arange(40)},
    {"weights": "ab", "seed": 3},
)


def test_no_flipped_bit_goes_unnoticed(tmp_path: Path) -> None:
    RECORD.save(tmp_path)
    for path in sorted(tmp_path.glob("classification*")):
        content = path.read_bytes()
        for place in range(8 * len(content)):
            altered = bytearray(content)
            altered[place // 8] ^= 1 << place % 8
            if place % (1 if path.suffix == ".json" else 13):
                continue
            path.write_bytes(bytes(altered))
            try:
                found = Record.load(tmp_path, "classification")
            except RunError:
                continue
            # White space or an escape sequence: the bytes differ, the content is the same.
            content_of = found.summary, found.origin
            assert content_of == (SUMMARY, RECORD.origin), (path, place)
            assert all(
                np.array_equal(found.arrays[name], array) for name, array in RECORD.arrays.items()
            )
        path.write_bytes(content)
    assert Record.load(tmp_path, "classification").summary == SUMMARY


def test_a_kill_while_it_is_saved_leaves_the_record_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    RECORD.save(tmp_path)

    def killed(path: Path, **options: bool):
        if path.suffix == ".json":
            raise KeyboardInterrupt
        return atomic_write(path, **options)

    monkeypatch.setattr("condgen.audits.records.atomic_write", killed)
    with pytest.raises(KeyboardInterrupt):
        Record("classification", {"n": 5}, {"score": np.zeros(5)}).save(tmp_path)
    assert np.array_equal(
        Record.load(tmp_path, "classification").arrays["score"], RECORD.arrays["score"]
    )
    monkeypatch.undo()
    Record("classification", {"n": 6}, {"score": np.zeros(6)}).save(tmp_path)
    assert len(list(tmp_path.glob("*.npz"))) == 1


def test_arrays_of_another_record_are_no_record(tmp_path: Path) -> None:
    RECORD.save(tmp_path / "a")
    Record("classification", {**SUMMARY, "accuracy": 0.9}, {"score": np.ones(3)}).save(
        tmp_path / "b"
    )
    shutil.copy(tmp_path / "a" / "classification.json", tmp_path / "b")
    with pytest.raises(RunError, match="is damaged"):
        Record.load(tmp_path / "b", "classification")


def test_a_record_of_before_checksums_is_read_and_replaced(tmp_path: Path) -> None:
    (tmp_path / "classification.json").write_text(json.dumps({**SUMMARY, "origin": {"seed": 1}}))
    np.savez_compressed(tmp_path / "classification.npz", score=np.zeros(2))
    (tmp_path / "classification.mine.npz").write_bytes(b"")
    found = Record.load(tmp_path, "classification")
    assert (found.summary, found.origin) == (SUMMARY, {"seed": 1})
    found.save(tmp_path)
    assert sorted(re.sub("[0-9a-f]{12}", "HASH", path.name) for path in tmp_path.glob("*.npz")) == [
        "classification.HASH.npz",
        "classification.mine.npz",
    ]
    assert records_in(tmp_path) == ["classification"]


def _hold(directory: Path, ready, done) -> None:
    with audit_lock(directory, "classification"):
        ready.set()
        done.wait(30)


def test_one_process_at_a_time_makes_an_audit(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    ready, done = spawn.Event(), spawn.Event()
    other = spawn.Process(target=_hold, args=(tmp_path, ready, done))
    other.start()
    assert ready.wait(60)
    with (
        pytest.raises(RunError, match="is being made by another process"),
        audit_lock(tmp_path, "classification"),
    ):
        pass
    with audit_lock(tmp_path, "label-likelihood"):
        Record("label-likelihood", {}, {}).save(tmp_path)  # the lock of this process
    done.set()
    other.join()
    with audit_lock(tmp_path, "classification"):
        RECORD.save(tmp_path)


def test_numbers_of_numpy_and_what_is_no_number_are_json(tmp_path: Path) -> None:
    summary = {
        "n": np.int64(3),
        "median": float("inf"),
        "means": np.array([1.0, np.nan]),
        "deep": {"x": (np.float32(0.5),)},
    }
    Record("mine", summary, {}).save(tmp_path)
    json.loads((tmp_path / "mine.json").read_text(), parse_constant=pytest.fail)
    assert Record.load(tmp_path, "mine").summary == {
        "n": 3,
        "median": None,
        "means": [1.0, None],
        "deep": {"x": [0.5]},
    }


def test_what_cannot_be_saved_is_refused_when_the_record_is_made() -> None:
    with pytest.raises(CondgenError, match="has a key 'origin'"):
        Record("mine", {"origin": 1}, {})
    with pytest.raises(CondgenError, match="'names' of mine holds Python objects"):
        Record("mine", {}, {"names": np.array(["a", None], object)})
    with pytest.raises(CondgenError, match="None is no path"):
        Record.load(None, "mine")  # type: ignore[arg-type]


def test_a_record_under_a_former_name_with_former_keys_is_read_and_replaced(tmp_path: Path) -> None:
    older = {"auroc": 0.5, "cells": [{"unnoticed": 0.25, "knows_detector": True}]}
    (tmp_path / "membership.json").write_text(json.dumps(older))
    np.savez(tmp_path / "membership.npz", reached_rounded=np.ones(2, bool), score=np.zeros(2))
    assert records_in(tmp_path) == ["label-likelihood"]
    record = Record.load(tmp_path, "label-likelihood")
    assert record.audit == "label-likelihood"
    assert record.summary == {
        "auroc": 0.5,
        "cells": [{"undetected": 0.25, "detector_aware": True}],
    }
    assert sorted(record.arrays) == ["reached_quantized", "score"]
    record.save(tmp_path)
    assert not list(tmp_path.glob("membership*"))
    assert Record.load(tmp_path, "label-likelihood").summary == record.summary


def test_former_names_of_audits_work_on_pages_and_in_commands() -> None:
    assert AUDITS.get("membership") is AUDITS.get("label-likelihood")
    assert "membership" not in AUDITS.names()
    assert upgraded({"audit": {"membership": {}}}) == {"audit": {"label-likelihood": {}}}
