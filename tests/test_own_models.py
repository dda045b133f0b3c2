"""User-defined models work with all commands, trained by condgen or elsewhere."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from condgen import experiments, fit, open_dataset
from condgen.cli import main
from condgen.config import Data, from_page, load_preset
from condgen.errors import ConfigError, DataError, RunError
from condgen.registry import AUDITS, DETECTORS, MODELS
from condgen.reports import write_report
from condgen.runs import RecordFolder, Run, open_folder
from condgen.training.checkpoints import Checkpoint
from tests import toy
from tests.conftest import TINY

PAGE = 'extends = "digits-base"\n[model]\nname = "tests.toy:Toy"\nscale = 0.5\n'
AUDIT_SETTINGS = [setting for setting in TINY if not setting.startswith(("model.", "detector."))]
TRAINING = {"epochs": 2, "batch_size": 64, "learning_rate": 0.01, "warm_up_steps": 10}


def condgen(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(
        main, [str(argument) for argument in arguments], catch_exceptions=False
    )
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "toy.toml"
    path.write_text(PAGE)
    return path


@pytest.fixture
def toy_family() -> Iterator[None]:
    """Register the toy model family."""
    MODELS.register("toy")(toy.ToySettings)
    yield
    del MODELS._members["toy"]


def test_a_factory_is_trained_resumed_audited_reported_checked_and_described(
    page: Path, tmp_path: Path
) -> None:
    run, settings = (
        tmp_path / "run",
        [word for setting in AUDIT_SETTINGS for word in ("--set", setting)],
    )
    start = ("train", page, "--run", run, *settings, "--threads", 1, "--device", "cpu")
    status, said, _ = condgen(*start, "--minutes", 0)
    assert status == 0
    assert "0 of 2 epochs and 1 steps" in said
    assert condgen(*start, "--resume")[0] == 0
    assert Run.open(run).config.model.model_dump() == {
        "name": "tests.toy:Toy",
        "class_prior": "uniform",
        "scale": 0.5,
    }
    status, _, error = condgen("audit", run, "--threads", 1)
    assert status == 0, error
    kinds = {name: AUDITS.get(name) for name in AUDITS.names()}  # the toy has no samples
    made = [name for name, kind in kinds.items() if not kind.needs_samples]
    assert Run.open(run).audits_made() == made
    status, said, _ = condgen("report", run, "--out", tmp_path / "report")
    assert status == 0
    text = (tmp_path / "report" / "index.html").read_text()
    assert "tests.toy:Toy" in text
    assert "What was not run" in text
    status, checked, _ = condgen("check", run)
    assert status == 0
    assert "gradient" in checked
    status, described, _ = condgen("describe", run)
    assert "10 of 64 numbers" in described
    status, _, error = condgen("sample", run, "--out", tmp_path / "x.png")
    assert (status, "cannot be sampled from" in error) == (2, True)


def test_a_registered_family_is_trained_by_its_name(toy_family: None, tmp_path: Path) -> None:
    config = load_preset("digits-base", ["model=toy", "model.scale=0.4", "training.epochs=1"])
    run = experiments.train(config, tmp_path / "run", quiet=True)
    (record,) = experiments.audit(run, ["classification"], quiet=True)
    assert record.summary["accuracy"] > 0.3
    with pytest.raises(ConfigError, match=r"'model.levels' is not known"):
        load_preset("digits-base", ["model=toy", "model.levels=2"])


def test_a_run_of_pieces_equals_one_run_dropout_included(page: Path, tmp_path: Path) -> None:
    config = load_preset(page, ["training.epochs=2"])
    whole = experiments.train(config, tmp_path / "whole", quiet=True)
    torch.manual_seed(1)  # dropout must not depend on the state of the process
    experiments.train(config, tmp_path / "parts", minutes=0, quiet=True)
    torch.rand(7)
    parts = experiments.train(config, tmp_path / "parts", resume=True, quiet=True)
    first, second = (
        Checkpoint.load(run.path / "checkpoint" / "last").weights for run in (whole, parts)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (
            {"name": "tests.toy:Toy", "scal": 0.5},
            "setting 'model.scal' is not known to tests.toy:Toy; did you mean 'scale'",
        ),
        ({"name": "tests.toy:Nothing"}, "model 'tests.toy:Nothing' cannot be imported"),
        ({"name": "no.such.module:Toy"}, "model 'no.such.module:Toy' cannot be imported"),
        ({"name": "tests.toy:BRIGHTNESS"}, "name a class or a function"),
        ({"name": "tests.toy:Entropy"}, "Entropy"),
    ],
)
def test_a_factory_that_is_none_is_one_sentence(
    table: dict[str, object], said: str, tmp_path: Path
) -> None:
    config = from_page({"data": {"name": "digits"}, "model": table})
    with pytest.raises((ConfigError, ValueError), match="(?s)" + said.replace("(", r"\(")):
        experiments.train(config, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_fit_leaves_a_run_that_every_command_reads(tmp_path: Path) -> None:
    splits = open_dataset("digits")
    model = toy.Toy((1, 8, 8), 10, 17, scale=0.6)
    built_by = {"name": "tests.toy:Toy", "scale": 0.6}
    objective = {"name": "reweight", "alpha": 0.5}
    data = Data(name="digits", crop_padding=1)
    run = fit(
        model,
        splits,
        tmp_path / "run",
        objective=objective,
        training=TRAINING,
        data=data,
        built_by=built_by,
        quiet=True,
    )
    assert run.config.images.sha256["test"] == splits.test.sha256()
    assert run.config.objective.alpha == 0.5
    assert run.config.versions["torch"]
    best = Checkpoint.load(run.best).weights
    assert all(torch.equal(value, best[name]) for name, value in model.state_dict().items())
    assert condgen("audit", run.path, "--only", "classification", "--threads", 1)[0] == 0
    assert condgen("report", run.path, "--out", tmp_path / "report")[0] == 0
    assert condgen("check", run.path)[0] == 0
    more = fit(
        model,
        splits,
        tmp_path / "run",
        objective=objective,
        training=TRAINING,
        data=data,
        built_by=built_by,
        quiet=True,
        resume=True,
    )
    assert more.epochs_done == 2


def test_fit_refuses_a_factory_of_another_model_before_it_begins(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"built_by: condgen:DiagonalGaussian needs it|'model.mean' is missing"
    ):
        fit(
            toy.Toy((1, 8, 8), 10, 17),
            open_dataset("digits"),
            tmp_path / "run",
            built_by="condgen:DiagonalGaussian",
        )
    with pytest.raises(ConfigError, match="builds another model: 'mean' has shape"):
        fit(
            toy.Toy((1, 8, 8), 12, 17),
            open_dataset("digits"),
            tmp_path / "run",
            built_by="tests.toy:Toy",
        )
    with pytest.raises(DataError, match="images of 1x8x8, the model is for 1x4x4"):
        fit(toy.Toy((1, 4, 4), 10, 17), open_dataset("digits"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_model_that_cannot_be_built_from_its_name_is_trained_and_audited_from_python(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Local(toy.Toy):
        pass

    model, splits = Local((1, 8, 8), 10, 17), open_dataset("digits")
    run = fit(model, splits, tmp_path / "run", training=TRAINING, quiet=True)
    assert "condgen cannot build a Local from its name" in capsys.readouterr().err.replace(
        "\n", " "
    )
    with pytest.raises(ConfigError, match="cannot be imported"):
        experiments.audit(run, ["classification"], quiet=True)
    (record,) = experiments.audit(run, ["classification"], model=model, splits=splits, quiet=True)
    assert record.origin["weights"] == run.weights_sha256


def test_another_training_of_the_same_name_is_refused(tmp_path: Path) -> None:
    splits, model = open_dataset("digits"), toy.Toy((1, 8, 8), 10, 17)
    fit(model, splits, tmp_path / "run", training=TRAINING, quiet=True)
    with pytest.raises(RunError, match="exists already"):
        fit(model, splits, tmp_path / "run", training=TRAINING, quiet=True)
    with pytest.raises(RunError, match=r"training\.learning_rate was 0\.01, now 0\.02"):
        fit(
            model,
            splits,
            tmp_path / "run",
            training={**TRAINING, "learning_rate": 0.02},
            resume=True,
            quiet=True,
        )


def test_a_model_from_elsewhere_is_audited_from_the_command_line(
    trained: Run, tmp_path: Path
) -> None:
    out, settings = (
        tmp_path / "theirs",
        [word for setting in AUDIT_SETTINGS[1:] for word in ("--set", setting)],
    )
    settings = [*settings[2:], "--set", "detector.threshold.quantile=0.95"]
    call = (
        "audit",
        "--model",
        "tests.toy:fitted",
        "--data",
        "digits",
        "--out",
        out,
        *settings,
        "--threads",
        1,
    )
    status, _, error = condgen(*call, "--only", "classification", "--only", "interpolation")
    assert status == 0, error
    folder = open_folder(out)
    assert type(folder) is RecordFolder
    assert folder.audits_made() == ["classification", "interpolation"]
    assert condgen("audit", out, "--only", "label-likelihood", "--threads", 1)[0] == 0
    status, _, error = condgen("report", trained.path, out, "--out", tmp_path / "report")
    assert status == 0, error
    text = (tmp_path / "report" / "index.html").read_text()
    assert "theirs" in text
    assert trained.name in text
    status, _, error = condgen(*call[:2], "tests.toy:Toy", *call[3:])
    assert (status, "audits of another model" in error) == (2, True)


@pytest.mark.parametrize(
    "arguments",
    [
        ("audit",),
        ("audit", "run", "--model", "tests.toy:fitted"),
        ("audit", "--model", "tests.toy:fitted", "--data", "digits"),
        ("audit", "run", "--data", "digits"),
    ],
)
def test_an_audit_of_nothing_in_particular_is_refused(arguments: tuple[str, ...]) -> None:
    status, _, error = condgen(*arguments)
    assert status == 2
    assert "--model" in error


def test_an_audit_and_a_detector_of_ones_own_are_named_like_any_other(
    copied: Run, tmp_path: Path
) -> None:
    settings = ("--set", "detector.name=tests.toy:Entropy", "--set", "detector.threshold=0.5")
    status, _, error = condgen(
        "audit", copied.path, "--only", "classification", *settings, "--threads", 1
    )
    assert status == 0, error
    assert copied.record("classification").summary["detector"] == {
        "name": "entropy",
        "unit": "nats",
        "threshold": 0.5,
    }
    (record,) = experiments.audit(copied, ["tests.toy:BRIGHTNESS"], quiet=True)
    assert record.origin["settings"] == {"above": 0.5}
    assert "brightness" in copied.audits_made()
    assert DETECTORS.names() == ["likelihood", "typicality"]


def test_an_audit_runs_what_it_is_asked_for_and_nothing_else(copied: Run) -> None:
    """Regression: an unknown audit was once run as *samples*."""
    AUDITS.register("brightness")(toy.BRIGHTNESS)
    try:
        (record,) = experiments.audit(
            copied, ["brightness"], overrides=["audit.brightness.above=0.25"], quiet=True
        )
        assert record.audit == "brightness"
        assert record.origin["settings"] == {"above": 0.25}
        page = write_report([copied], copied.path / "report").read_text()
        assert "<h2>Brightness</h2>" in page
    finally:
        del AUDITS._members["brightness"]
