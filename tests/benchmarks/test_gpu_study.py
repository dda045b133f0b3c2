"""The GPU study, tiny and on the CPU: in pieces to the end, with every figure that it promises."""

import json
from pathlib import Path

from click.testing import CliRunner

from benchmarks import gpu_study
from tests.conftest import TINY

SETTINGS = [argument for setting in (*TINY, "audit.noise_draws=1") for argument in ("--set", setting)]


def study(folder: Path, minutes: float) -> str:
    arguments = ["digits-reweight", "digits-base", "--device", "cpu", "--threads", "1", "--minutes", str(minutes), *SETTINGS]
    places = ["--runs", str(folder / "runs"), "--out", str(folder / "gpu.json")]
    return CliRunner().invoke(gpu_study.main, [*arguments, *places], catch_exceptions=False).stdout


def test_the_study_comes_to_its_end_in_pieces(tmp_path: Path) -> None:
    assert "Time is over" in study(tmp_path, minutes=0)
    first = json.loads((tmp_path / "gpu.json").read_text())["presets"]
    assert first["digits-reweight"]["epochs"] == 1
    assert "All is trained and audited" in study(tmp_path, minutes=10)
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found["versions"]["torch"]
    assert list(found["presets"]) == ["digits-reweight", "digits-base"]
    reweight = found["presets"]["digits-reweight"]
    assert reweight["epochs"] == reweight["of_epochs"] == reweight["pieces"] == 2
    assert 0 < reweight["fraction_of_limit"] < 1
    assert reweight["train_seconds"] > first["digits-reweight"]["train_seconds"]
    assert reweight["peak_memory_mb"] is None  # only a GPU counts its own
    assert 0 <= reweight["classification"]["accuracy"] <= 1
    assert {path.stem for path in (tmp_path / "runs/digits-base/records").glob("*.json")} >= {"classification", "interpolation"}
    assert "All is trained and audited" in study(tmp_path, minutes=0)  # nothing is left to do


def test_what_was_trained_and_audited_before_is_still_told(tmp_path: Path) -> None:
    study(tmp_path, minutes=10)
    (tmp_path / "gpu.json").unlink()
    assert "All is trained and audited" in study(tmp_path, minutes=10)
    assert 0 <= json.loads((tmp_path / "gpu.json").read_text())["presets"]["digits-base"]["classification"]["accuracy"] <= 1


def test_runs_with_other_settings_are_not_taken_for_these(tmp_path: Path) -> None:
    study(tmp_path, minutes=10)
    places = ["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "gpu.json"), "--device", "cpu"]
    done = CliRunner().invoke(gpu_study.main, ["digits-base", *SETTINGS, "--set", "model.width=16", *places])
    assert done.exit_code == 1
    assert "was started with another model (model.width was 8, now 16)" in done.output
