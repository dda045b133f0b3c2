"""Study files: labels, runs that several blocks share, one-sentence errors."""

from pathlib import Path

import pytest

from condgen.errors import ConfigError
from condgen.studies import Study, study_names
from tests.studies.pages import SWEEP, TWO, written


@pytest.mark.parametrize("name", study_names())
def test_the_studies_that_ship_are_valid(name: str) -> None:
    study = Study.load(name)
    assert study.runs
    assert len({run.label for run in study.runs}) == len(study.runs)


def test_a_label_is_the_preset_its_overrides_and_its_seed(tmp_path: Path) -> None:
    study = Study.load(written(tmp_path, SWEEP))
    assert [run.label for run in study.runs] == [
        "digits-reweight-alpha=0",
        "digits-reweight-alpha=0-seed1",
        "digits-reweight-alpha=10",
        "digits-reweight-alpha=10-seed1",
    ]
    assert [run.config.objective.alpha for run in study.runs] == [0, 0, 10, 10]
    assert [run.config.seed for run in study.runs] == [0, 1, 0, 1]
    assert (
        study.case_of("alpha=10")
        == study.case_of("digits-reweight-alpha=10")
        == "digits-reweight-alpha=10"
    )


def test_overrides_of_the_page_and_of_the_call_reach_every_run(tmp_path: Path) -> None:
    page = written(
        tmp_path,
        TWO.replace("audits", 'with = { training.epochs = 3, "model.blocks" = 2 }\naudits'),
    )
    study = Study.load(page, ["model.blocks=1"])
    assert {(run.config.training.epochs, run.config.model.blocks) for run in study.runs} == {(3, 1)}


def test_all_audits_are_made_where_the_page_names_none(tmp_path: Path) -> None:
    study = Study.load(written(tmp_path, 'title = "x"\nruns = [{ presets = ["digits-base"] }]'))
    assert {"classification", "adversarial"} <= {*study.runs[0].audits}


def test_a_run_that_two_blocks_ask_for_is_trained_once(tmp_path: Path) -> None:
    more = '[[runs]]\npresets = ["digits-base"]\naudits = ["samples"]\n'
    study = Study.load(written(tmp_path, TWO + more))
    assert [run.label for run in study.runs] == ["digits-base", "digits-reweight"]
    assert study.runs[0].audits == ("classification", "interpolation", "samples")


def test_presets_of_ones_own_lie_beside_the_page(tmp_path: Path) -> None:
    path = written(
        tmp_path / "there", 'title = "x"\nruns = [{ presets = ["mine.toml"], audits = [] }]'
    )
    (tmp_path / "there" / "mine.toml").write_text(
        'extends = "digits-base"\ntraining = { epochs = 5 }\n'
    )
    (run,) = Study.load(path).runs
    assert (run.label, run.config.training.epochs) == ("mine", 5)


ONE = '[[runs]]\npresets = ["digits-base"]\n'
TRADE_OFF = """
[[trade_off]]
title = "t"
x = "classification.bits_per_dim"
y = "classification.accuracy"
x_label = "bits/dim"
y_label = "accuracy %"
curves = ["digits-reweight", "{}"]
"""
BAD = {
    "not TOML": ("title =", "is not valid TOML"),
    "no title": (ONE, "setting 'title' is missing"),
    "unknown key": (
        f'title = "x"\n{ONE}seed = 1\n',
        "setting 'runs[0].seed' is not known; did you mean 'seeds'?",
    ),
    "unknown table": (
        f'title = "x"\ntabel = 1\n{ONE}',
        "setting 'tabel' is not known; did you mean 'table'?",
    ),
    "seed": (f'title = "x"\n{ONE}seeds = [-1]\n', "runs[0].seeds[0] = -1 does not fit"),
    "no preset": ('title = "x"\nruns = [{ presets = [] }]', "runs[0].presets = [] does not fit"),
    "preset": ('title = "x"\nruns = [{ presets = ["digits-bas"] }]', "did you mean 'digits-base'?"),
    "setting": (f'title = "x"\n{ONE}with = {{ "model.block" = 1 }}', "'model.block' is not known"),
    "audit": (f'title = "x"\n{ONE}audits = ["clasification"]', "did you mean 'classification'?"),
    "metric": (
        SWEEP.replace('ours = "cl', 'ours = "xcl'),
        "metric 'xclassification.accuracy' belongs to no audit of the study",
    ),
    "label": (
        SWEEP.replace('"alpha=0" = 25', '"alpha=1" = 25'),
        "'alpha=1' is no run of the study",
    ),
    "two meant": (
        SWEEP.replace('presets = ["', 'presets = ["digits-split", "'),
        "'alpha=0' is a label of digits-split-alpha=0 and of digits-reweight-alpha=0",
    ),
    "x": (
        SWEEP.replace('x = "objective.alpha"', 'x = "objective.name"'),
        "x = 'objective.name' is not a numeric setting",
    ),
    "curve": (
        SWEEP + TRADE_OFF.format("digits-spilt"),
        "curve 'digits-spilt' is no preset of the study",
    ),
    "one curve": (
        SWEEP + TRADE_OFF.format("digits-reweight"),
        "both curves of 't' are 'digits-reweight'; name two presets.",
    ),
    "margin": (
        SWEEP.replace("between", 'margins = { "bits" = 1.0 }\nbetween'),
        "margin 'bits' is no column of 'What alpha does'; did you mean 'bits/dim'?",
    ),
    "no margin": (
        SWEEP.replace("between", 'margins = { "bits/dim" = 0.0 }\nbetween'),
        "difference[0].margins.bits/dim = 0.0 does not fit",
    ),
    "one label": (
        TWO + ONE + "with = { model.blocks = 1 }\n",
        "different settings have the label 'digits-base'",
    ),
    "name of two": (TWO.replace("presets", 'name = "x"\npresets'), "runs named 'x' have 2 presets"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_page_is_one_sentence(case: str, tmp_path: Path) -> None:
    text, words = BAD[case]
    with pytest.raises(ConfigError) as error:
        Study.load(written(tmp_path, text))
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_the_page_in_the_documentation_is_valid(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs/studies.md").read_text()
    study = Study.load(written(tmp_path, text.partition("```toml")[2].partition("```")[0]))
    assert len(study.runs) == 9
    assert "digits-reweight-alpha=100-seed2" in [run.label for run in study.runs]


def test_an_unknown_study_is_met_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="study 'demmo' is not known; did you mean 'demo'"):
        Study.load("demmo")
    with pytest.raises(ConfigError, match="does not exist"):
        Study.load("nowhere/study.toml")
