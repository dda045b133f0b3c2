"""Plans: settings, data and weights decide which steps are done."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from condgen import experiments
from condgen.config import load_preset
from condgen.errors import ConfigError
from condgen.runs import Run
from condgen.studies.estimates import time_a_step
from condgen.studies.gpu_hours import RATES, Rate, gpu_words
from condgen.studies.overview import plan_table, plan_words
from condgen.studies.plan import Plan, make_plan
from condgen.studies.study import Study
from condgen.training.log import read_log
from tests.conftest import TINY
from tests.studies.pages import SWEEP, TWO, written

PAGE = (
    'title = "x"\n[[runs]]\npresets = ["digits-split"]\n'
    'audits = ["classification", "label-likelihood", "interpolation"]\n'
)
STEPS = ["training", "classification", "label-likelihood", "interpolation"]


@pytest.fixture
def folder(trained: Run, tmp_path: Path) -> Path:
    """The folder of a study whose run is trained and audited."""
    shutil.copytree(trained.path, tmp_path / "out/runs/digits-split")
    return tmp_path / "out"


def planned(folder: Path, text: str = PAGE, *overrides: str) -> Plan:
    return make_plan(Study.load(written(folder, text), (*TINY, *overrides)), folder)


def left(plan: Plan, only: str = "*") -> list[str]:
    return [step.name.removeprefix("digits-split/") for step in plan.pending(only)]


def test_everything_is_to_do_in_an_empty_folder(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    assert left(plan) == STEPS
    assert plan.runs[0].path == tmp_path.resolve() / "runs/digits-split"
    assert not (tmp_path / "runs").exists()


def test_what_was_trained_and_audited_is_done_and_says_by_which_version(folder: Path) -> None:
    plan = planned(folder)
    assert left(plan) == []
    version = plan.runs[0].steps[0].version
    assert version
    assert plan_table(plan).rows == (("digits-split", "1", *(f"done ({version})" for _ in STEPS)),)
    assert plan_words(plan, plan.pending(), 2) == "4 steps, all done."


def test_other_settings_of_training_get_a_folder_of_their_own(folder: Path) -> None:
    plan = planned(folder, PAGE, "training.epochs=3")
    assert left(plan) == STEPS
    assert plan.runs[0].path.name == "digits-split-2"


def test_a_run_is_found_under_any_name(folder: Path) -> None:
    (folder / "runs/digits-split").rename(folder / "runs/renamed")
    plan = planned(folder)
    assert left(plan) == []
    assert plan.runs[0].path.name == "renamed"


def test_only_audits_that_depend_on_a_changed_setting_are_made_again(folder: Path) -> None:
    assert left(planned(folder, PAGE, "audit.interpolation.pairs=7")) == ["interpolation"]
    assert left(planned(folder, PAGE, "detector.threshold=3.5")) == [
        "classification",
        "interpolation",
    ]


def test_other_data_under_the_same_name_are_another_run(folder: Path) -> None:
    page = folder / "runs/digits-split/config.toml"
    text = page.read_text()
    sha256 = Run.open(page.parent).config.images.sha256["train"]
    page.write_text(text.replace(sha256, "0" * 64))
    plan = planned(folder)
    assert left(plan) == STEPS
    assert plan.runs[0].path.name == "digits-split-2"


def test_records_of_other_weights_are_made_again(folder: Path) -> None:
    for record in (folder / "runs/digits-split/records").glob("label-likelihood.json"):
        summary = json.loads(record.read_text())
        summary["origin"]["weights"] = "0" * 64
        record.write_text(json.dumps(summary))
    assert left(planned(folder)) == ["label-likelihood"]


def test_a_damaged_run_is_not_in_the_way(folder: Path) -> None:
    (folder / "runs/digits-split/config.toml").write_text("no [TOML")
    plan = planned(folder)
    assert left(plan) == STEPS
    assert plan.runs[0].path.name == "digits-split-2"


def test_a_training_that_was_stopped_is_begun(folder: Path) -> None:
    run = folder / "runs/digits-split"
    shutil.rmtree(run / "checkpoint")
    plan = planned(folder)
    assert left(plan) == STEPS
    assert plan.runs[0].steps[0].state == "begun"
    assert plan.runs[0].path == run.resolve()


def test_two_runs_do_not_share_a_folder(folder: Path) -> None:
    page = PAGE + PAGE.partition("\n")[2].replace("presets", 'name = "again"\npresets')
    plan = planned(folder, page)
    assert [run.path.name for run in plan.runs] == ["digits-split", "again"]


def test_a_pattern_chooses_runs_or_steps_and_includes_their_training(
    tmp_path: Path, folder: Path
) -> None:
    empty = planned(tmp_path / "empty", SWEEP)
    assert [step.name for step in empty.pending("*alpha=0")] == [
        "digits-reweight-alpha=0/training",
        "digits-reweight-alpha=0/classification",
    ]
    assert len(empty.pending("*/training")) == 4
    assert left(planned(tmp_path / "empty"), "*/label-likelihood") == [
        "training",
        "label-likelihood",
    ]
    assert left(planned(folder, PAGE, "audit.interpolation.pairs=7"), "*/label-likelihood") == []
    with pytest.raises(ConfigError, match="--only 'digit' matches no step; runs: digits-split"):
        planned(folder).pending("digit")


def test_times_are_those_of_like_runs_and_unknown_without_any(folder: Path) -> None:
    run = folder / "runs/digits-split"
    log = read_log(run)
    for line, rate in zip(log, (100.0, 300.0), strict=True):
        line["images_per_second"] = rate
    (run / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in log))
    record = Run.open(run).record("label-likelihood")
    replace(record, origin={**record.origin, "seconds": 123.0}).save(run / "records")
    plan = planned(folder, PAGE, "training.epochs=5", "audit.interpolation.pairs=7")
    training, _, labels, interpolation = plan.runs[0].steps
    steps = 5 * log[0]["step"]
    assert training.seconds == pytest.approx(steps * 64 / 200)
    assert labels.seconds == 123.0
    assert interpolation.seconds is None
    other = planned(folder, PAGE, "model.width=16")
    assert [step.seconds for step in other.runs[0].steps] == [None, None, None, None]
    assert "4 steps of unknown length" in plan_words(other, other.pending(), 1)


def test_a_training_step_is_timed_where_there_is_no_like_run(tmp_path: Path) -> None:
    seconds, steps = time_a_step(load_preset("digits-base", TINY), None, "cpu")
    assert 0 < seconds < 10
    assert steps == 1257 // 64
    plan = make_plan(
        Study.load(written(tmp_path, PAGE), TINY), tmp_path, timed="*/label-likelihood"
    )
    assert (plan.runs[0].steps[0].seconds or 0) > 0
    assert make_plan(plan.study, tmp_path, timed="other*").runs[0].steps[0].seconds is None
    assert not (tmp_path / "runs").exists()


def test_gpu_hours_are_the_arithmetic_of_large_trainings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study.load(written(tmp_path, TWO), TINY)
    plan = make_plan(study, tmp_path / "out")
    assert gpu_words(plan, None) == ""  # too small: nothing of that size was measured
    monkeypatch.setitem(RATES, "glow", Rate(1e6, 1.0, "here"))
    (config, *_) = (run.config for run in study.runs)
    images = len(experiments.open_data(config).train) // 64 * 64 * config.training.epochs
    hours = images * experiments.summarize(config, device="cuda").training_flops / 1e6 / 3600
    words = "GPU hours of the trainings, from their arithmetic: about"
    assert gpu_words(plan, None).startswith(f"{words} {2 * hours:.1f} for glow (1e-06 TFLOP/s")
    assert gpu_words(plan, None, "digits-base").startswith(f"{words} {hours:.1f} for glow")
    assert gpu_words(plan, None, "*/interpolation") == gpu_words(plan, None)  # needs both
