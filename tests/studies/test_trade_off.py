"""Curves of one metric against another, and which of two is better, from synthetic records."""

import math
from pathlib import Path

import pytest

from condgen.audits.records import Record
from condgen.runs import Run
from condgen.studies.metrics import Numbers, Value
from condgen.studies.plan import Plan, PlannedRun, PlannedStep
from condgen.studies.report import difference_table, sections
from condgen.studies.steps import Step
from condgen.studies.study import Study
from condgen.studies.trade_off import Curve, curves_of, trade_off_figure, trade_off_table
from tests.conftest import TINY
from tests.studies.pages import written

PAGE = """
title = "Two curves"

[[runs]]
presets = ["digits-reweight"]
set = [{ "objective.alpha" = 0.0 }, { "objective.alpha" = 1.0 }]
seeds = [0, 1]
audits = ["classification"]

[[runs]]
presets = ["digits-split"]
set = [{ "objective.alpha" = 0.0 }, { "objective.alpha" = 1.0 }]
seeds = [0, 1]
audits = ["classification"]

[[trade_off]]
title = "Accuracy against likelihood"
x = "classification.bits_per_dim"
y = "classification.accuracy"
x_label = "bits/dim"
y_label = "accuracy %"
curves = ["digits-split", "digits-reweight"]

[[difference]]
title = "Split minus Reweight"
columns = { "accuracy %" = "classification.accuracy", "bits/dim" = "classification.bits_per_dim" }
margins = { "accuracy %" = 0.2, "bits/dim" = 0.2 }
claim = 'The paper: "no difference".'
between = [["digits-split-alpha=0", "digits-reweight-alpha=0"]]
"""
# (bits/dim, accuracy) by preset and alpha; the second seed has 0.1 more accuracy
POINTS = {
    ("digits-reweight", 0.0): (2.0, 0.5),
    ("digits-reweight", 1.0): (3.0, 0.8),
    ("digits-split", 0.0): (2.0, 0.6),
    ("digits-split", 1.0): (2.5, 0.7),
}


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    study = Study.load(written(tmp_path, PAGE), TINY)
    runs = []
    for each in study.runs:
        run = Run.create(tmp_path / "runs" / each.label, each.config)
        bits, accuracy = POINTS[each.line, each.config.objective.alpha]
        accuracy += 0.1 * each.config.seed
        summary = {
            "accuracy": accuracy,
            "accuracy_ci": [accuracy - 0.03, accuracy + 0.04],
            "bits_per_dim": bits,
        }
        Record("classification", summary, {}, {"versions": {"condgen": "1.2"}}).save(run.records)
        steps = [
            Step(each.label, each.config, run.path, what) for what in ("training", "classification")
        ]
        done = tuple(PlannedStep(step, "done", "1.2", 0.0) for step in steps)
        runs.append(PlannedRun(each, run.path, done))
    return Plan(study, tmp_path, tuple(runs))


def of_seeds(plan: Plan, *seeds: int) -> Plan:
    return Plan(
        plan.study, plan.folder, tuple(run for run in plan.runs if run.run.config.seed in seeds)
    )


def test_the_best_of_a_curve_is_the_highest_within_the_limit() -> None:
    curve = Curve(((Value(2.0), Value(0.9)), (Value(1.0), Value(0.5)), (Value(3.0), Value(0.8))))
    assert curve.least == 1.0
    assert [curve.best(limit).value for limit in (1.0, 1.9, 2.0, 9.0)] == [0.5, 0.5, 0.9, 0.9]


def test_two_curves_are_compared_seed_by_seed_at_equal_limits(plan: Plan) -> None:
    (asked,) = plan.study.page.trade_off
    table = trade_off_table(Numbers(plan), asked, "t")
    assert [row["bits/dim"] for row in table.numbers] == [2.0, 2.25, 2.5, 2.75, 3.0]
    differences = [row["difference"] for row in table.numbers]
    assert differences == pytest.approx([0.1, 0.1, 0.2, 0.2, -0.1])
    split, reweight = asked.curves
    assert [row["better"] for row in table.numbers] == [split] * 4 + [reweight]
    assert f"Better: {split} at 4, {reweight} at 1 of 5 limits" in table.caption


def test_the_interval_of_one_seed_is_that_of_its_test_images(plan: Plan) -> None:
    (asked,) = plan.study.page.trade_off
    row = trade_off_table(Numbers(of_seeds(plan, 0)), asked, "t").numbers[0]
    assert row["difference_ci"] == pytest.approx([0.1 - math.hypot(0.03, 0.04), 0.15])
    assert row["better"] == "one seed"  # its training varies as well


def test_only_seeds_with_all_settings_count(plan: Plan) -> None:
    lacking = [run for run in plan.runs if run.run.label != "digits-split-alpha=1-seed1"]
    part = Plan(plan.study, plan.folder, tuple(lacking))
    (asked,) = plan.study.page.trade_off
    assert list(curves_of(Numbers(part), asked, "digits-split")) == [0]
    assert list(curves_of(Numbers(part), asked, "digits-reweight")) == [0, 1]


def test_without_records_there_is_nothing_to_compare(plan: Plan) -> None:
    (asked,) = plan.study.page.trade_off
    table = trade_off_table(Numbers(of_seeds(plan)), asked, "t")
    assert (table.rows, table.caption) == ((), "No seed has all settings of both presets yet.")


def test_the_figure_has_a_mark_for_each_setting(plan: Plan) -> None:
    (axes,) = trade_off_figure(Numbers(plan), plan.study.page.trade_off[0]).axes
    assert [list(line.get_xdata()) for line in axes.lines if line.get_marker() == "o"] == [
        [2.0, 2.5],
        [2.0, 3.0],
    ]
    assert list(axes.lines[0].get_ydata()) == pytest.approx([65.0, 75.0])  # percent
    assert [text.get_text() for text in axes.texts] == ["0", "1", "0", "1"]
    assert [section.title for section in sections(plan)] == [
        "Accuracy against likelihood",
        "Split minus Reweight",
    ]


def test_a_difference_has_a_verdict_within_margins(plan: Plan) -> None:
    table = difference_table(Numbers(plan), plan.study.page.difference[0], "d")
    assert table.columns[-1] == "verdict"
    assert table.rows[0][-1] == "no difference"
    assert 'The paper: "no difference". ' in table.caption
    assert "all intervals are within accuracy ±20 %, bits/dim ±0.2." in table.caption
    narrow = plan.study.page.difference[0].model_copy(
        update={"margins": {"accuracy %": 0.05, "bits/dim": 0.2}}
    )
    assert difference_table(Numbers(plan), narrow, "d").rows[0][-1] == "differs: accuracy %"
    one = difference_table(Numbers(of_seeds(plan, 0)), narrow, "d").rows[0][-1]
    assert one == "undecided: accuracy %, bits/dim"
