"""A page shows records of one model and one detector, or none."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from condgen import experiments
from condgen.config import load_preset
from condgen.errors import RunError
from condgen.reports import write_report
from condgen.runs import Run
from tests.conftest import TINY

QUICK = ("classification", "membership", "interpolation", "samples")


def test_records_of_a_run_that_was_trained_on_are_not_shown_as_the_finished_models(tmp_path: Path) -> None:
    config = load_preset("digits-base", [*TINY, "training.learning_rate=0.01"])
    run = experiments.train(config, tmp_path / "run", minutes=0, quiet=True)
    assert run.epochs_done == 1
    experiments.audit(run, QUICK, quiet=True)
    page = write_report([run], tmp_path / "report").read_text()
    assert f"epoch 1 ({run.weights_sha256[:8]})" in page
    experiments.train(config, run.path, resume=True, quiet=True)
    experiments.audit(run, ["membership"], quiet=True)
    with pytest.raises(RunError, match="classification: epoch 1, interpolation: epoch 1, samples: epoch 1") as refused:
        write_report([run], tmp_path / "report")
    assert f"condgen audit {run.path} --only classification --only interpolation --only samples" in str(refused.value)
    assert (tmp_path / "report" / "index.html").read_text() == page
    experiments.audit(run, [name for name in QUICK if name != "membership"], quiet=True)
    assert "epoch 2 (" in write_report([run], tmp_path / "report").read_text()


def test_records_of_two_detectors_are_not_shown_together(copied: Run, tmp_path: Path) -> None:
    experiments.audit(copied, ["interpolation"], overrides=["detector.threshold=9.5"], quiet=True)
    with pytest.raises(RunError, match=r"interpolation: 9\.5.*--only classification --only interpolation --only adversarial"):
        write_report([copied], tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_a_record_says_what_it_was_made_with(trained: Run) -> None:
    origin = trained.record("membership").origin
    assert origin["weights"] == trained.weights_sha256 != ""
    assert origin["seed"] == trained.config.seed
    assert origin["audit"]["pairs"] == trained.config.audit.pairs
    assert origin["versions"]["torch"] == trained.config.versions["torch"]
    assert "origin" not in trained.record("membership").summary


def test_records_without_their_checkpoint_or_origin_are_taken_as_they_are(copied: Run, tmp_path: Path) -> None:
    for state in copied.path.glob("checkpoint/*/state.toml"):
        state.unlink()
    assert copied.weights_sha256 == ""
    assert f"epoch {copied.record('samples').origin['epoch']} (" in write_report([copied], tmp_path / "report").read_text()
    for name in (*QUICK, "adversarial"):
        replace(copied.record(name), origin={}).save(copied.records)
        assert json.loads((copied.records / f"{name}.json").read_text())["origin"] == {}
    assert "not noted" in write_report([copied], tmp_path / "report").read_text()


def test_an_origin_of_another_kind_is_one_sentence(copied: Run, tmp_path: Path) -> None:
    replace(copied.record("samples"), origin={"made": "elsewhere"}).save(copied.records)
    with pytest.raises(RunError, match="a record has no 'weights'"):
        write_report([copied], tmp_path / "report")
