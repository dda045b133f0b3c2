"""The precision of a run: chosen for the machine at the start and kept on resume."""

from pathlib import Path

import pytest

from condgen import experiments, machine
from condgen.config import Config, load_preset
from condgen.errors import ConfigError, RunError
from condgen.runs import Run
from tests.conftest import TINY


def preset(precision: str, epochs: int = 1) -> Config:
    return load_preset(
        "digits-base", [*TINY, f"model.precision={precision}", f"training.epochs={epochs}"]
    )


def begun(path: Path, precision: str) -> str:
    """Train a run and return the precision in its settings."""
    experiments.train(preset(precision), path, quiet=True)
    return Run.open(path).config.model.precision


@pytest.mark.parametrize(("fast", "chosen"), [(True, "bfloat16"), (False, "float32")])
def test_auto_is_what_the_machine_multiplies_fast(
    fast: bool, chosen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "multiplies_bfloat16", lambda *_: fast)
    assert begun(tmp_path / "run", "auto") == chosen
    assert begun(tmp_path / "explicit", "float32") == "float32"


def test_a_run_goes_on_elsewhere_with_what_it_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "multiplies_bfloat16", lambda *_: False)
    assert begun(tmp_path / "run", "auto") == "float32"
    monkeypatch.setattr(machine, "multiplies_bfloat16", lambda *_: True)
    assert (
        experiments.train(
            preset("auto"), tmp_path / "run", resume=True, quiet=True
        ).config.model.precision
        == "float32"
    )
    with pytest.raises(RunError, match="started with another model"):
        experiments.train(preset("bfloat16"), tmp_path / "run", resume=True, quiet=True)


def test_bfloat16_is_trained_on_any_cpu_and_on_cuda_where_it_pays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "multiplies_bfloat16", lambda *_: False)
    assert begun(tmp_path / "run", "bfloat16") == "bfloat16"
    with pytest.raises(ConfigError, match=r"--set model\.precision=float32"):
        preset("bfloat16").model.on("cuda")
    monkeypatch.setattr(machine, "multiplies_bfloat16", lambda *_: True)
    assert preset("bfloat16").model.on("cuda").precision == "bfloat16"
