"""The log of a training: every altered byte is found, and your loggers get the same metrics."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from condgen.errors import RunError
from condgen.training.log import LOG, MetricsFile, read_log
from tests.training.small import log, train

EPOCHS = [{"epoch": 1, "loss": 2.5, "device": "cpu"}, {"epoch": 2, "loss": float("inf")}]
OLDER = '{"time": 1.5, "epoch": 1, "step": 4}\n{"time": 2.5, "epoch": 2, "step": 8}\n'


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """The log of two epochs."""
    file = MetricsFile(tmp_path)
    for number, metrics in enumerate(EPOCHS, 1):
        file.log(metrics, 4 * number)
    return tmp_path / LOG


def test_a_log_is_read_as_it_was_written(written: Path) -> None:
    first, second = read_log(written.parent)
    assert first.pop("time") > 0
    assert first == {"epoch": 1, "loss": 2.5, "device": "cpu", "step": 4}
    assert second["loss"] is None  # JSON has no infinity
    assert read_log(written.parent / "elsewhere") == []


@pytest.mark.parametrize("flip", [lambda byte: byte ^ 1, lambda byte: byte ^ 32, lambda _: 10])
def test_every_altered_byte_is_found_and_named_by_its_line(
    flip: Callable[[int], int], written: Path
) -> None:
    content = written.read_bytes()
    for place, byte in enumerate(content):
        altered = bytearray(content)
        altered[place] = flip(byte)
        if altered == content:
            continue
        written.write_bytes(altered)
        number = content[:place].count(b"\n") + 1
        with pytest.raises(RunError, match=rf"{LOG} is damaged \(line {number}: "):
            read_log(written.parent)


@pytest.mark.parametrize("length", [1, 20, -2])
def test_a_half_written_last_line_is_dropped_and_the_lines_before_stay(
    length: int, written: Path
) -> None:
    first, second = written.read_text().splitlines()
    written.write_text(f"{first}\n{second[:length]}")
    assert [line["epoch"] for line in read_log(written.parent)] == [1]
    MetricsFile(written.parent, epochs=1).log({"epoch": 2}, 8)
    assert [line["epoch"] for line in read_log(written.parent)] == [1, 2]


def test_a_log_of_an_older_version_is_read_and_gets_checksums_on_resume(tmp_path: Path) -> None:
    (tmp_path / LOG).write_text(OLDER)
    assert [line["step"] for line in read_log(tmp_path)] == [4, 8]
    MetricsFile(tmp_path, epochs=1)
    assert read_log(tmp_path) == [{"time": 1.5, "epoch": 1, "step": 4}]
    assert "sha256" in json.loads((tmp_path / LOG).read_text())


def test_a_log_of_a_newer_version_says_so(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("condgen.training.log.FORMAT", 1)
    with pytest.raises(RunError, match="of a newer version of condgen; update condgen"):
        read_log(written.parent)


def test_a_line_that_is_trained_again_may_be_damaged(written: Path) -> None:
    first, second = written.read_text().splitlines()
    written.write_text(f"{first}\n{second.replace('epoch', 'apoch')}\n")
    with pytest.raises(RunError, match=r"line 2: sha256 differs\); restore it, or remove it"):
        MetricsFile(written.parent, epochs=2)
    MetricsFile(written.parent, epochs=1)
    assert [line["epoch"] for line in read_log(written.parent)] == [1]


def test_loggers_get_the_metrics_of_each_epoch(tmp_path: Path) -> None:
    class Kept:
        def __init__(self) -> None:
            self.found: list[tuple[int, dict[str, Any]]] = []

        def log(self, metrics: dict[str, Any], step: int) -> None:
            self.found.append((step, dict(metrics)))
            metrics.clear()  # the metrics of the next logger are another copy

    first, second = Kept(), Kept()
    train(tmp_path, epochs=1, loggers=[first])
    train(tmp_path, resume=True, loggers=[first, second])
    assert [step for step, _ in first.found] == [4, 8]
    assert [step for step, _ in second.found] == [8]
    line = log(tmp_path)[1]
    assert {**second.found[0][1], "step": 8, "time": line["time"]} == line
