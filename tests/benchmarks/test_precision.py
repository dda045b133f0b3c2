"""The comparison of precisions, tiny: two runs alike but for the precision, and a refusal where one cannot be trained."""

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from benchmarks import precision
from condgen import machine
from tests.conftest import TINY

SETTINGS = [argument for setting in (*TINY, "training.epochs=1") for argument in ("--set", setting)]


def compared(folder: Path) -> Result:
    places = ["--runs", str(folder / "runs"), "--out", str(folder / "bf16.json"), "--device", "cpu", "--threads", "1"]
    return CliRunner().invoke(precision.main, ["digits-reweight", *SETTINGS, *places])


def test_the_difference_is_that_of_two_runs(tmp_path: Path) -> None:
    assert compared(tmp_path).exit_code == 0
    found = json.loads((tmp_path / "bf16.json").read_text())
    float32, bfloat16 = found["float32"], found["bfloat16"]
    assert float32["bits_per_dim"] != bfloat16["bits_per_dim"]
    assert found["bf16_bits_per_dim_difference"] == bfloat16["bits_per_dim"] - float32["bits_per_dim"]
    assert found["bf16_accuracy_difference"] == bfloat16["accuracy"] - float32["accuracy"]
    assert abs(found["bf16_bits_per_dim_difference"]) < 0.1


def test_where_bfloat16_cannot_be_trained_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "prepare_device", lambda _: torch.device("cuda"))
    monkeypatch.setattr(machine, "multiplies_bfloat16", lambda *_: False)
    done = compared(tmp_path)
    assert done.exit_code == 1
    assert "has no tensor cores for it" in done.output
    assert not list(tmp_path.iterdir())
