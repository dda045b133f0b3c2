"""Checkpoints: damage is detected, the previous one is used, older formats resume."""

import hashlib
import shutil
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import tomli_w
import torch
from safetensors.torch import load_file, save_file

from condgen import files
from condgen.errors import RunError
from condgen.training.checkpoints import (
    OLDER_OPTIMIZER,
    OPTIMIZER,
    STATE_PREFIX,
    Checkpoint,
    epochs_done,
    load_weights,
    plain,
)
from condgen.training.resuming import newest_readable
from tests.training.small import assert_same, epochs_logged, last, tiny_density, train


@pytest.mark.parametrize("lost", ["best", "best/weights.safetensors"])
def test_a_lost_best_checkpoint_does_not_stop_a_run(lost: str, tmp_path: Path) -> None:
    train(tmp_path, epochs=1)
    path = tmp_path / "checkpoint" / lost
    shutil.rmtree(path) if path.is_dir() else path.write_bytes(b"")
    train(tmp_path, epochs=2, resume=True)
    assert Checkpoint.load(tmp_path / "checkpoint" / "best").epoch == 2


def test_a_finished_run_whose_best_checkpoint_is_damaged_has_its_last_one(
    tmp_path: Path, capfd
) -> None:
    trained = train(tmp_path, epochs=2)
    state = tmp_path / "checkpoint" / "best" / "state.toml"
    state.write_text(state.read_text().replace("loss", "lost"))
    assert_same(train(tmp_path, epochs=2, resume=True), last(tmp_path).weights)
    warning = " ".join(capfd.readouterr().err.split())
    assert "The checkpoint of epoch 2 takes its place" in warning
    assert Checkpoint.load(tmp_path / "checkpoint" / "best").training == {}
    assert_same(train(tmp_path, epochs=2, resume=True), trained)


def test_a_damaged_last_checkpoint_falls_back_to_the_one_before(tmp_path: Path) -> None:
    whole = train(tmp_path / "run", epochs=3)
    weights = tmp_path / "run" / "checkpoint" / "last" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    state, warning = newest_readable(tmp_path / "run" / "checkpoint")
    assert state.epoch == 2
    assert "sha256 differs" in warning
    # Otherwise the next checkpoint would replace the previous, good one by the damaged one.
    assert not weights.parent.exists()
    assert_same(train(tmp_path / "run", epochs=3, resume=True), whole)
    assert epochs_logged(tmp_path / "run") == [1, 2, 3]


def test_a_run_killed_between_two_renames_continues(tmp_path: Path) -> None:
    train(tmp_path, epochs=2)
    shutil.rmtree(tmp_path / "checkpoint" / "last")
    state, warning = newest_readable(tmp_path / "checkpoint")
    assert state.epoch == epochs_done(tmp_path / "checkpoint") == 1
    assert "Training was stopped while" in warning
    assert "train the run" not in warning
    assert epochs_done(tmp_path / "nothing") == 0


def test_an_altered_state_is_damaged_whatever_was_altered(tmp_path: Path) -> None:
    train(tmp_path, epochs=2)
    state = tmp_path / "checkpoint" / "last" / "state.toml"
    text = state.read_text()
    for old, new in (
        ("epoch = 2", "epoch = 7"),
        ("seed = 0", "seed = 1"),
        ('"state.toml" =', '"stata.toml" ='),
    ):
        assert old in text
        state.write_text(text.replace(old, new))
        with pytest.raises(RunError, match="is damaged"):
            Checkpoint.load(state.parent)
        assert epochs_done(tmp_path / "checkpoint") == 1  # from the previous checkpoint
    state.write_text(text)
    assert epochs_done(tmp_path / "checkpoint") == 2


def with_state(path: Path, **changes: object) -> None:
    """Change the state of a checkpoint, with a checksum."""
    state = tomllib.loads((path / "state.toml").read_text()) | changes
    del state["sha256"]["state.toml"]
    state["sha256"]["state.toml"] = files.digest_of(state)
    (path / "state.toml").write_text(tomli_w.dumps(state))


def test_a_checkpoint_of_a_newer_format_is_refused_and_stays(tmp_path: Path) -> None:
    train(tmp_path, epochs=2)
    with_state(tmp_path / "checkpoint" / "last", format=3)
    message = "last has format 3, and this version of condgen reads formats 1 to 2; install a newer"
    for _ in range(2):
        with pytest.raises(RunError, match=message):
            train(tmp_path, epochs=2, resume=True)


def test_only_the_first_format_may_have_no_checksum_of_its_state(tmp_path: Path) -> None:
    train(tmp_path, epochs=1)
    path = tmp_path / "checkpoint" / "last"
    text = (path / "state.toml").read_text()
    without = "".join(line for line in text.splitlines(True) if not line.startswith('"state.toml"'))
    (path / "state.toml").write_text(without)
    with pytest.raises(RunError, match=r"state\.toml: sha256 differs"):
        Checkpoint.load(path)
    (path / "state.toml").write_text(without.replace("format = 2\n", ""))
    assert Checkpoint.load(path).epoch == 1


def test_a_checkpoint_that_was_put_aside_by_a_killed_process_is_found(tmp_path: Path) -> None:
    train(tmp_path, epochs=1)
    best = tmp_path / "checkpoint" / "best"
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    aside = best.parent / f".condgen-{files._place()}-{ended.pid}-abcdefgh" / "replaced" / "best"
    aside.parent.mkdir(parents=True)
    best.rename(aside)
    assert Checkpoint.load(best).epoch == 1
    assert sorted(path.name for path in best.parent.iterdir()) == ["best", "last"]


@pytest.mark.parametrize("epoch", ["'x'", "-1", "true"])
def test_a_checkpoint_with_no_count_of_epochs_is_damaged(epoch: str, tmp_path: Path) -> None:
    train(tmp_path, epochs=1)
    state = tmp_path / "checkpoint" / "last" / "state.toml"
    state.write_text(state.read_text().replace("epoch = 1", f"epoch = {epoch}"))
    with pytest.raises(RunError, match="is damaged"):
        train(tmp_path, resume=True)


def test_weights_of_another_architecture_are_refused_by_name(tmp_path: Path) -> None:
    wide = tiny_density(0, "digits-reweight", "model.width=16")
    with pytest.raises(
        RunError, match=r"another architecture: 'flow\..*has shape \(16.*expects \(8"
    ):
        load_weights(tiny_density(), wide.state_dict(), tmp_path)


def as_older(path: Path) -> None:
    """Convert a checkpoint to the format before version 0.2."""
    saved = Checkpoint.load(path)
    moments = {name.removeprefix(STATE_PREFIX): tensor for name, tensor in saved.training.items()}
    (path / OPTIMIZER).unlink()
    save_file(moments, path / OLDER_OPTIMIZER)
    names = ("weights.safetensors", OLDER_OPTIMIZER)
    state = {
        "epoch": saved.epoch,
        "step": saved.step,
        "metrics": saved.metrics,
        "sha256": {name: hashlib.sha256((path / name).read_bytes()).hexdigest() for name in names},
    }
    (path / "state.toml").write_text(tomli_w.dumps(state))


def test_an_older_checkpoint_resumes(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", epochs=3)
    train(tmp_path / "older", epochs=1)
    as_older(tmp_path / "older" / "checkpoint" / "last")
    assert_same(train(tmp_path / "older", epochs=3, resume=True), whole)


def test_an_older_checkpoint_of_other_batches_is_refused(tmp_path: Path) -> None:
    train(tmp_path, epochs=1)
    as_older(tmp_path / "checkpoint" / "last")
    with pytest.raises(RunError, match=r"steps_per_epoch was 4\.0, now 8"):
        train(tmp_path, batch_size=32, resume=True)


def test_weights_are_kept_once(tmp_path: Path) -> None:
    train(tmp_path, epochs=1)
    names = load_file(tmp_path / "checkpoint" / "last" / OPTIMIZER).keys()
    assert names
    assert all(name.startswith("state.exp_avg") for name in names)


def test_tied_and_strided_tensors_can_be_saved(tmp_path: Path) -> None:
    tied = torch.arange(6.0).reshape(2, 3)
    Checkpoint({"a": tied, "b": tied, "c": tied.t()}, {}, 1, 1, {}).save(tmp_path / "x")
    kept = Checkpoint.load(tmp_path / "x").weights
    assert_same(kept, plain({"a": tied, "b": tied, "c": tied.t()}))
    assert torch.equal(kept["c"], tied.t())


def test_weights_with_former_names_of_tensors_are_read(tmp_path: Path) -> None:
    train(tmp_path)
    path = tmp_path / "checkpoint" / "best"
    checkpoint = Checkpoint.load(path)
    former = {
        name.replace("initialized", "initialised"): tensor
        for name, tensor in checkpoint.weights.items()
    }
    assert former.keys() != checkpoint.weights.keys()
    replace(checkpoint, weights=former).save(path)
    assert Checkpoint.load(path).weights.keys() == checkpoint.weights.keys()
