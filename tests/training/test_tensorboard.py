"""Events for TensorBoard, read by TensorBoard itself."""

import sys
from pathlib import Path

import pytest

from condgen.errors import ConfigError
from condgen.training.tensorboard import FOLDER, TensorBoard
from tests.training.small import log, train


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ConfigError, match=r"run `pip install 'condgen\[tensorboard\]'`"):
        TensorBoard(tmp_path)


def test_a_resumed_run_has_each_epoch_once(tmp_path: Path) -> None:
    """The epoch that ended at step 6 is replaced by the one that ends at step 8."""
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train(tmp_path, epochs=1)
    train(tmp_path, max_steps=6, resume=True, loggers=[TensorBoard(tmp_path)])
    train(tmp_path, resume=True, loggers=[TensorBoard(tmp_path)])
    found = events.EventAccumulator(str(tmp_path / FOLDER)).Reload()
    tags = found.Tags()["scalars"]
    assert {"loss/training", "loss/validation", "accuracy/validation"} <= set(tags)
    assert not {"step", "epoch", "time"} & set(tags)
    for tag, key in (("loss/training", "loss"), ("accuracy/validation", "validation_accuracy")):
        points = [(event.step, pytest.approx(event.value)) for event in found.Scalars(tag)]
        assert points == [(line["step"], line[key]) for line in log(tmp_path)]
    assert [line["step"] for line in log(tmp_path)] == [4, 8]
