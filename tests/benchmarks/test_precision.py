"""The comparison of precisions, tiny: runs alike but for their rounding, and a refusal where one cannot be trained."""

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from benchmarks import precision
from condgen import machine
from condgen.models.glow import coupling_network
from condgen.runs import Run
from condgen.training.checkpoints import Checkpoint
from tests.conftest import TINY

SETTINGS = [argument for setting in (*TINY, "training.epochs=1") for argument in ("--set", setting)]


def compared(folder: Path, seeds: int = 1) -> Result:
    places = [
        "--seeds",
        str(seeds),
        "--runs",
        str(folder / "runs"),
        "--out",
        str(folder / "bf16.json"),
        "--device",
        "cpu",
        "--threads",
        "1",
    ]
    return CliRunner().invoke(precision.main, ["digits-reweight", *SETTINGS, *places])


def weights(run: Path) -> torch.Tensor:
    return torch.cat([weight.flatten() for _, weight in sorted(Checkpoint.load(Run.open(run).best).weights.items())])


def test_differences_are_those_from_the_first_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coupling_network, "BLOCK_BYTES", 1 << 10)  # several blocks in a batch, tiny as it is
    assert compared(tmp_path).exit_code == 0
    found = json.loads((tmp_path / "bf16.json").read_text())
    assert found["epochs"] == 2
    exact, rounded, again = (
        weights(tmp_path / f"runs/digits-reweight-{kind}-0") for kind in ("float32", "bfloat16", "float32-again")
    )
    assert 0 < (again - exact).norm() < (rounded - exact).norm() / 10
    for kind, name in (("bfloat16", "bf16"), ("float32 again", "float32_again")):
        float32, other = found["seeds"]["0"]["float32"], found["seeds"]["0"][kind]
        assert found[f"{name}_accuracy_difference_ci"] is None
        assert found[f"{name}_bits_per_dim_difference"] == other["bits_per_dim"] - float32["bits_per_dim"]
        assert found[f"{name}_accuracy_difference"] == other["accuracy"] - float32["accuracy"]
        assert abs(found[f"{name}_bits_per_dim_difference"]) < 0.1
    assert coupling_network.BLOCK_BYTES == 1 << 10


def test_a_second_seed_adds_to_the_first_and_gives_an_interval(tmp_path: Path) -> None:
    assert compared(tmp_path).exit_code == 0
    begun = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")}
    assert compared(tmp_path, seeds=2).exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in begun} == begun  # what was measured is not measured again
    found = json.loads((tmp_path / "bf16.json").read_text())
    values = [rows["bfloat16"]["bits_per_dim"] - rows["float32"]["bits_per_dim"] for rows in found["seeds"].values()]
    assert found["bf16_bits_per_dim_difference"] == pytest.approx(sum(values) / 2)
    assert found["bf16_seeds"] == found["float32_again_seeds"] == 2
    low, high = found["bf16_bits_per_dim_difference_ci"]
    assert high - low == pytest.approx(12.706 * abs(values[1] - values[0]), rel=1e-3)  # Student's quantile of one degree


def test_where_bfloat16_cannot_be_trained_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "prepare_device", lambda _: torch.device("cuda"))
    monkeypatch.setattr(machine, "multiplies_bfloat16", lambda *_: False)
    done = compared(tmp_path)
    assert done.exit_code == 1
    assert "has no tensor cores for it" in done.output
    assert not list(tmp_path.iterdir())


def test_seeds_that_differ_alike_have_an_interval_of_no_width() -> None:
    rows = {"float32": {"bits_per_dim": 2.5, "accuracy": 0.5}, "bfloat16": {"bits_per_dim": 2.75, "accuracy": 0.5}}
    found = precision.differences({"0": rows, "1": rows})
    assert found["bf16_bits_per_dim_difference_ci"] == (0.25, 0.25)
    assert found["bf16_accuracy_difference_ci"] == (0.0, 0.0)
