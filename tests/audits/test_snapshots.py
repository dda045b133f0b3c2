"""Snapshots of a training: at equal intervals, the same after a stop, audited like the model."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from condgen import Run, audits, experiments, load_preset, write_report
from condgen.audits.snapshots import snapshots
from condgen.errors import CondgenError, RunError
from condgen.experiments import subject_of
from condgen.reports.sections import section_of
from condgen.training.checkpoints import SNAPSHOTS, Checkpoint
from condgen.training.loop import is_due
from tests.conftest import TINY
from tests.training.small import assert_same, train


@pytest.mark.parametrize(("steps", "times"), [(38, 3), (10, 10), (7, 2), (5, 9), (100, 1), (8, 0)])
def test_snapshots_are_evenly_spaced_and_end_at_the_last_step(steps: int, times: int) -> None:
    due = [taken for taken in range(1, steps + 1) if is_due(taken, steps, times)]
    assert len(due) == min(steps, times)
    assert not due or due[-1] == steps
    assert not due or max(np.diff([0, *due])) - min(np.diff([0, *due])) <= 1


def kept(directory: Path) -> dict[str, dict[str, torch.Tensor]]:
    return {
        path.name: Checkpoint.load(path).weights
        for path in sorted((directory / "checkpoint" / SNAPSHOTS).iterdir())
    }


def test_an_interrupted_training_keeps_the_same_snapshots(tmp_path: Path) -> None:
    changes = {"epochs": 3, "snapshots": 5}
    train(tmp_path / "whole", **changes)
    for call in range(4):  # a step each
        train(tmp_path / "parts", **changes, minutes=0, resume=call > 0)
    assert list(kept(tmp_path / "parts")) == ["00000003"]
    train(tmp_path / "parts", **changes, resume=True)
    whole, parts = kept(tmp_path / "whole"), kept(tmp_path / "parts")
    assert (
        list(whole) == list(parts) == ["00000003", "00000005", "00000008", "00000010", "00000012"]
    )
    for name, weights in whole.items():
        assert_same(weights, parts[name])


def test_a_training_with_snapshots_has_a_fixed_length(tmp_path: Path) -> None:
    train(tmp_path / "run", epochs=1, snapshots=2)
    with pytest.raises(RunError, match=r"training\.epochs was 1, now 2"):
        train(tmp_path / "run", epochs=2, snapshots=2, resume=True)


def test_the_last_snapshot_has_the_numbers_of_the_last_weights(trained: Run) -> None:
    """The tiny run is best at its end, so the last snapshot equals the run."""
    record = trained.record("snapshots")
    assert [line["step"] for line in record.summary["snapshots"]] == [13, 26, 38]
    subject = subject_of(trained, quiet=True)
    last = list(subject.snapshots.values())[-1]()
    x, _ = subject.splits.test.batch(slice(20))
    torch.testing.assert_close(
        last.classifier(x).class_log_prob, subject.classifier(x).class_log_prob
    )
    bits = [line["bits_per_dim"] for line in record.summary["snapshots"]]
    assert bits[0] > bits[-1]  # training reduces bits/dim
    whole = replace(subject, snapshots={38: lambda: last})
    made = snapshots(
        whole, trained.config.audit_settings("snapshots").model_copy(update={"test_images": 1000})
    )
    of_run = audits.classification(
        subject.classifier, subject.splits.test, detector=subject.detector, noise_draws=1
    )
    assert made.summary["n"] == 360
    assert made.summary["snapshots"][0]["accuracy"] == of_run.summary["accuracy"]
    assert made.summary["snapshots"][0]["bits_per_dim"] == pytest.approx(
        of_run.summary["bits_per_dim"]
    )


def test_a_run_without_snapshots_says_how_to_keep_them(tmp_path: Path) -> None:
    run = experiments.train(
        load_preset("digits-base", [*TINY, "training.snapshots=0"]), tmp_path / "run", quiet=True
    )
    with pytest.raises(
        CondgenError, match=r"run kept no snapshots; train it with training\.snapshots=8"
    ):
        experiments.audit(run, ["snapshots"], quiet=True)
    experiments.audit(run, ["classification"], quiet=True)
    assert "--only snapshots" not in write_report([run], tmp_path / "report").read_text()


def test_a_damaged_snapshot_is_named(copied: Run) -> None:
    path = next(iter(copied.snapshots().values()))
    (path / "weights.safetensors").write_bytes(b"no")
    with pytest.raises(CondgenError, match=path.name):
        experiments.audit(copied, ["snapshots"], quiet=True)


@pytest.mark.parametrize("without", [2, 3])  # with 3 of 3 there is nothing to draw
def test_a_model_without_paths_is_shown_without_them(
    trained: Run, tmp_path: Path, without: int
) -> None:
    record = trained.record("snapshots")
    record.summary["simple_densities"] = {}
    for line in record.summary["snapshots"][:without]:
        for key in (
            "middle_minus_ends",
            "middle_minus_ends_ci",
            "accepted_at_every_step",
            "accepted_at_every_step_ci",
        ):
            line.pop(key, None)
        line["no_paths"] = "only 1 image"
    shutil.copytree(trained.path, tmp_path / "run")
    record.save(tmp_path / "run" / "records")
    (table,) = section_of("snapshots").tables([Run.open(tmp_path / "run")])
    assert table.rows[0][-1] == "–"
    assert (
        "too few snapshots"
        in write_report([Run.open(tmp_path / "run")], tmp_path / "report").read_text()
    )
