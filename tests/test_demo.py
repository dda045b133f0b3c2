"""The demo, small: whole, taken up again, and failing with one sentence."""

from pathlib import Path

import pytest

from condgen.demo import PRESETS, run_demo
from condgen.errors import CondgenError
from tests.conftest import TINY


def test_the_demo_reports_all_presets_and_goes_on_where_it_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = run_demo(tmp_path, TINY)
    text = page.read_text()
    assert all(preset in text for preset in PRESETS)
    printed = capsys.readouterr().out
    assert "Table 1" in printed
    assert all(preset in printed for preset in PRESETS)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/checkpoint/last/state.toml")}
    assert run_demo(tmp_path, TINY) == page
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/checkpoint/last/state.toml")} == before


def test_a_run_that_fails_ends_the_demo_with_its_error(tmp_path: Path) -> None:
    with pytest.raises(CondgenError, match="fewer than one batch"):
        run_demo(tmp_path, (*TINY, "training.batch_size=5000"))
    assert not (tmp_path / "report").exists()
