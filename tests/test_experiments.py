"""What a run keeps on resume, and what it starts from."""

from pathlib import Path

import pytest
import torch

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


def test_compilation_is_not_part_of_what_a_run_is(tmp_path: Path) -> None:
    config = load_preset("digits-base", [*TINY, "training.epochs=1"])
    experiments.train(config, tmp_path / "run", quiet=True)
    compiled = config.model_copy(
        update={"training": config.training.model_copy(update={"compile": True})}
    )
    assert experiments.is_trained(tmp_path / "run", compiled)
    with pytest.raises(ConfigError, match=r"training\.compile needs --device cuda"):
        experiments.train(compiled, tmp_path / "run", resume=True, quiet=True)
    experiments.train(config, tmp_path / "run", resume=True, quiet=True)


def weights(run: Run) -> dict[str, torch.Tensor]:
    return run.classifier().density.state_dict()


def test_a_run_starts_from_the_weights_of_another(tmp_path: Path) -> None:
    first = experiments.train(preset("float32"), tmp_path / "first", quiet=True)
    config = load_preset(
        "digits-base", [*TINY, "training.epochs=2", "training.learning_rate=1e-30"], seed=1
    )
    begun = experiments.train(
        config, tmp_path / "second", start=tmp_path / "first", minutes=0, quiet=True
    )
    assert begun.config.start == first.weights_sha256
    assert not experiments.is_begun(tmp_path / "second", config)  # a study would train it anew
    done = experiments.train(config, tmp_path / "second", resume=True, quiet=True)
    for name, tensor in weights(done).items():
        torch.testing.assert_close(tensor, weights(first)[name], rtol=1e-5, atol=1e-6)
    again = experiments.train(
        config, tmp_path / "second", resume=True, start=tmp_path / "gone", quiet=True
    )
    assert again.config.start == done.config.start
    assert (done.epochs_done, done.config.start) == (2, first.weights_sha256)


def test_a_start_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    first = experiments.train(preset("float32"), tmp_path / "first", quiet=True)
    other = load_preset("digits-base", [*TINY, "model.width=4"])
    with pytest.raises(RunError, match="has another architecture"):
        experiments.train(other, tmp_path / "run", start=tmp_path / "first", quiet=True)
    assert first.config.images
    others = first.config.images.model_copy(update={"sha256": {"train": "0" * 64}})
    first.with_config(first.config.model_copy(update={"images": others}))
    with pytest.raises(RunError, match="was trained on other images"):
        experiments.train(preset("float32"), tmp_path / "run", start=first.path, quiet=True)
    with pytest.raises(RunError, match="is not a run directory"):
        experiments.train(other, tmp_path / "run", start=tmp_path / "nowhere", quiet=True)
    assert not (tmp_path / "run").exists()
