"""The stability benchmark, tiny: it keeps what it has done, goes on, and notices a number that is not finite."""

import json
from pathlib import Path

from click.testing import CliRunner

from benchmarks import stability
from condgen.training.optimiser import NonFiniteLoss, Optimiser
from tests.conftest import TINY

OVERRIDES = [argument for setting in TINY for argument in ("--set", setting)]


def stable(out: Path, seeds: int, *presets: str) -> list[str]:
    arguments = [*presets, "--seeds", str(seeds), "--steps", "3", "--threads", "1", "--out", str(out), *OVERRIDES]
    return CliRunner().invoke(stability.main, arguments, catch_exceptions=False).output.splitlines()


def test_seeds_are_kept_and_not_trained_again(tmp_path: Path) -> None:
    out = tmp_path / "stability.json"
    first = stable(out, 1, "digits-base")
    kept = json.loads(out.read_text())["runs"]["digits-base"]["0"]
    assert kept["steps"] == 3
    assert kept["worst_gradient_norm"] > 0
    assert len(first) == 2  # the seed, and the summary
    assert len(stable(out, 2, "digits-base", "digits-split")) == 3 + 2
    found = json.loads(out.read_text())
    assert found["runs"]["digits-base"]["0"] == kept
    assert found["summary"]["digits-base"]["seeds"] == found["summary"]["digits-split"]["seeds"] == 2
    assert found["summary"]["digits-split"]["non_finite"] == 0


def test_runs_of_other_settings_are_not_mixed(tmp_path: Path) -> None:
    out = tmp_path / "stability.json"
    stable(out, 1, "digits-base")
    assert json.loads(out.read_text())["learning_rate"] == stability.LEARNING_RATE
    before = out.read_text()
    arguments = ["digits-base", "--out", str(out), "--set", "training.learning_rate=0.5"]
    refused = CliRunner().invoke(stability.main, arguments)
    assert refused.exit_code == 1
    assert "give another --out" in refused.output
    assert out.read_text() == before
    other = ["digits-base", *OVERRIDES, "--seeds", "1", "--steps", "1", "--set", "training.learning_rate=0.5"]
    CliRunner().invoke(stability.main, [*other, "--out", str(tmp_path / "other.json")], catch_exceptions=False)
    assert json.loads((tmp_path / "other.json").read_text())["learning_rate"] == 0.5


def test_a_mistyped_setting_is_one_line(tmp_path: Path) -> None:
    done = CliRunner().invoke(stability.main, ["digits-base", "--out", str(tmp_path / "x.json"), "--set", "training.epoch=1"])
    assert done.exit_code == 1
    assert "did you mean" in done.output


def test_a_number_that_is_not_finite_is_counted(tmp_path: Path, monkeypatch) -> None:
    def explode(self: Optimiser, loss: object) -> float:
        raise NonFiniteLoss("loss is not finite at step 0.")

    monkeypatch.setattr(Optimiser, "step_on", explode)
    stable(tmp_path / "stability.json", 1, "digits-base")
    found = json.loads((tmp_path / "stability.json").read_text())
    assert found["summary"]["digits-base"]["non_finite"] == 1
    assert found["runs"]["digits-base"]["0"]["failure"] == "loss is not finite at step 0."
