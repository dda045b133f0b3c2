"""The GPU benchmark of PixelCNN++, here tiny and on the CPU."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import pixelcnn, pixelcnn_gpu


def test_speed_is_set_beside_the_limit_of_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = {"FILTERS": 4, "PAPER_BLOCKS": 1, "LEVELS": 2, "SHAPE": (3, 8, 8)}
    for name, value in sizes.items():
        monkeypatch.setattr(pixelcnn, name, value)
    out = tmp_path / "speed.json"
    arguments = ["--device", "cpu", "--batch", "2", "--out", str(out)]
    done = CliRunner().invoke(pixelcnn_gpu.main, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found = json.loads(out.read_text())
    each = found["training"]["batch 2"]
    assert each["images_per_second"] == pytest.approx(2 / each["seconds_per_step"])
    assert each["fraction_of_limit"] == each["training_gflops"] / found["matrix_limit_gflops"]
    assert "peak_memory_mib" not in each  # measured on GPUs only
