"""The demo with small settings: complete, resumed, and failing with one sentence."""

from pathlib import Path

from click.testing import CliRunner, Result

from condgen.cli import main
from condgen.studies import Study
from tests.conftest import TINY

# PixelCNN++ has no width.
SETTINGS = [setting for setting in TINY if not setting.startswith("model.width")]


def demo(out: Path, *overrides: str) -> Result:
    settings = [word for setting in (*SETTINGS, *overrides) for word in ("--set", setting)]
    return CliRunner().invoke(main, ["demo", "--out", str(out), *settings])


def test_the_demo_reports_all_presets_and_continues(tmp_path: Path) -> None:
    done = demo(tmp_path, "training.max_steps=12")
    assert done.exit_code == 0, done.output
    page = tmp_path / "report" / "index.html"
    assert str(page) in done.output
    text = page.read_text()
    presets = [run.label for run in Study.load("demo").runs]
    assert len(presets) == 5
    assert all(preset in text for preset in presets)
    assert "a good likelihood guarantees nothing" in text  # the counterexample of Section 2
    assert all(preset in done.output for preset in presets)
    assert "Table 1" in done.output
    assert "Carlini-Wagner" in done.output
    assert {path.parents[1].name for path in tmp_path.glob("runs/*/records/adversarial.json")} == {
        "digits-reweight",
        "digits-split",
    }
    before = {
        path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/checkpoint/last/state.toml")
    }
    assert len(before) == 5
    again = demo(tmp_path, "training.max_steps=12")
    assert "27 steps, all done." in again.output
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_demo_that_cannot_be_trained_says_why(tmp_path: Path) -> None:
    done = demo(tmp_path, "training.batch_size=50000")
    assert done.exit_code == 1
    assert "5 steps failed" in done.stderr
    assert "fewer than one batch" in done.stderr
    assert not (tmp_path / "report").exists()
