"""The GPU benchmark of a study, here tiny and on the CPU."""

import json
import shutil
from pathlib import Path

from click.testing import CliRunner

from benchmarks import gpu_study
from condgen.runs import Run


def test_speed_is_set_beside_the_limit_of_the_device(trained: Run, tmp_path: Path) -> None:
    shutil.copytree(trained.path, tmp_path / "study/runs/digits-split")
    out = tmp_path / "gpu.json"
    arguments = [str(tmp_path / "study"), "--device", "cpu", "--out", str(out)]
    done = CliRunner().invoke(gpu_study.main, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found = json.loads(out.read_text())
    assert found["versions"]["torch"]
    run = found["presets"]["digits-split"]
    assert run["epochs"] == run["of_epochs"] == 2
    assert 0 < run["fraction_of_limit"] < 1
    assert run["fraction_of_limit"] == run["training_gflops"] / run["matrix_limit_gflops"]
    assert run["train_seconds"] > 0
    assert run["peak_memory_mib"] is None  # measured on GPUs only
    assert run["classification"]["accuracy"] == trained.record("classification").summary["accuracy"]


def test_a_folder_without_runs_is_one_line(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        gpu_study.main, [str(tmp_path), "--device", "cpu", "--out", str(tmp_path / "gpu.json")]
    )
    assert done.exit_code == 1
    assert "has no run that was trained" in done.output
    assert not (tmp_path / "gpu.json").exists()
