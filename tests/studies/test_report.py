"""Statistics over seeds and their report sections, from synthetic records."""

import json
from pathlib import Path

import pytest

from condgen.audits.records import Record
from condgen.errors import ConfigError, RunError
from condgen.runs import Run
from condgen.studies.metrics import Numbers, mean_of
from condgen.studies.plan import Plan, PlannedRun, PlannedStep
from condgen.studies.report import (
    cell,
    comparison_table,
    difference_table,
    models_of,
    sections,
    sweep_figure,
    sweep_table,
)
from condgen.studies.steps import Step, note
from condgen.studies.study import Study
from tests.conftest import TINY
from tests.studies.pages import SWEEP, written

ACCURACY = {"alpha=0": (0.2, 0.4), "alpha=10": (0.8, 0.9)}
BITS = {"alpha=0": (2.0, 2.5), "alpha=10": (2.5, 3.5)}


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """A sweep with four finished runs and known numbers."""
    study = Study.load(written(tmp_path, SWEEP), TINY)
    runs = []
    for studied in study.runs:
        seed, kind = studied.config.seed, studied.variation
        run = Run.create(tmp_path / "runs" / studied.label, studied.config)
        accuracy = ACCURACY[kind][seed]
        summary = {
            "accuracy": accuracy,
            "accuracy_ci": [accuracy - 0.1, accuracy + 0.1],
            "bits_per_dim": BITS[kind][seed],
        }
        Record("classification", summary, {}, {"versions": {"condgen": "1.2"}}).save(run.records)
        lines = [
            {"epoch": e, "loss": 5 - e, "gradient_norm": 7 - 3 * e, "images_per_second": 10.0**e}
            for e in (1, 2)
        ]
        (run.path / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        steps = [
            Step(studied.label, studied.config, run.path, what)
            for what in ("training", "classification")
        ]
        runs.append(
            PlannedRun(
                studied, run.path, tuple(PlannedStep(step, "done", "1.2", 0.0) for step in steps)
            )
        )
    return Plan(study, tmp_path, tuple(runs))


def without(plan: Plan, place: int) -> Plan:
    """The plan with one pending run."""
    planned = plan.runs[place]
    steps = tuple(PlannedStep(each.step, "to do") for each in planned.steps)
    runs = [
        *plan.runs[:place],
        PlannedRun(planned.run, planned.path, steps),
        *plan.runs[place + 1 :],
    ]
    return Plan(plan.study, plan.folder, tuple(runs))


def test_a_mean_has_students_interval() -> None:
    found = mean_of([1.0, 2.0, 6.0])
    assert (found.value, found.n) == (3.0, 3)
    assert found.interval == pytest.approx(
        (3 - 4.3027 * 2.6458 / 3**0.5, 3 + 4.3027 * 2.6458 / 3**0.5), rel=1e-4
    )
    assert mean_of([2.0]).interval is None


def test_numbers_are_means_over_the_seeds_that_are_done(plan: Plan) -> None:
    case = plan.study.case_of("alpha=0")
    found = Numbers(plan).statistic("classification.accuracy", case)
    assert found is not None
    assert found.value == pytest.approx(0.3)
    assert found.interval == pytest.approx((0.3 - 12.706 * 0.1, 0.3 + 12.706 * 0.1), rel=1e-3)
    one = Numbers(without(plan, 1)).statistic("classification.accuracy", case)
    assert one is not None
    assert (one.value, one.n) == (0.2, 1)
    assert one.interval == pytest.approx((0.1, 0.3))  # the interval of the record
    assert Numbers(without(without(plan, 0), 1)).statistic("classification.accuracy", case) is None
    largest = Numbers(plan).statistic("classification.bits_per_dim", case, "max")
    assert largest is not None
    assert (largest.value, largest.interval) == (2.5, None)


def test_the_log_gives_its_last_line_the_worst_norm_and_the_median_speed(plan: Plan) -> None:
    case, numbers = plan.study.case_of("alpha=0"), Numbers(plan)
    found = {
        name: numbers.of(f"training.{name}", case)[0].value
        for name in ("loss", "gradient_norm", "images_per_second")
    }
    assert found == {"loss": 3, "gradient_norm": 4, "images_per_second": 55}
    assert numbers.of("training.peak_memory_mib", case) == {}  # measured on GPUs only


def test_a_number_that_no_record_has_is_refused(plan: Plan) -> None:
    with pytest.raises(
        ConfigError, match=r"'classification\.acuracy' is in no record of the study; did you mean"
    ):
        Numbers(plan).of("classification.acuracy", plan.study.case_of("alpha=0"))


def test_differences_are_paired_by_seed(plan: Plan) -> None:
    case_of, metric = plan.study.case_of, "classification.bits_per_dim"
    both = Numbers(plan).difference(metric, case_of("alpha=10"), case_of("alpha=0"))
    assert both is not None
    assert (both.value, both.n) == (0.75, 2)
    assert both.interval == pytest.approx((0.75 - 12.706 * 0.25, 0.75 + 12.706 * 0.25), rel=1e-3)
    one = Numbers(without(plan, 0)).difference(metric, case_of("alpha=10"), case_of("alpha=0"))
    assert one is not None
    assert (one.value, one.n, one.interval) == (1.0, 1, None)
    table = difference_table(Numbers(plan), plan.study.page.difference[0], "d")
    assert table.rows[0][0] == "alpha=10 minus alpha=0"
    assert table.rows[0][1].startswith("+0.750 [-2.4")


def test_tables_say_how_many_seeds_they_are_of_and_what_failed(plan: Plan) -> None:
    part = without(plan, 1)
    failed = note(part.folder, part.runs[1].steps[0].step, "failed")
    failed.parent.mkdir()
    failed.write_text("why")
    table = sweep_table(Numbers(part), part.study.page.table[0], "t")
    assert table.columns == ("run", "accuracy %", "loss", "seeds", "failed")
    assert table.rows[0] == ("digits-reweight-alpha=0", "20.0 [10.0, 30.0]", "3.000", "1 of 2", "1")
    assert table.rows[1][-2:] == ("2", "0")


def test_our_numbers_stand_beside_the_papers(plan: Plan) -> None:
    table = comparison_table(Numbers(plan), plan.study.page.compare)
    assert table.rows[0] == (
        "Table 4, accuracy %",
        "alpha=0",
        "30.0 [-97.1, 157.1]",
        "25.48",
        "2",
        "the class term raises accuracy",
    )
    assert table.numbers[1]["paper"] == 85.78


def test_a_figure_has_a_point_for_each_setting(plan: Plan) -> None:
    (axes,) = sweep_figure(Numbers(plan), plan.study.page.figure[0]).axes
    x, y = axes.lines[0].get_data()
    assert list(x) == [0, 10]
    assert list(y) == pytest.approx([0.3, 0.85])


def test_cells() -> None:
    assert cell(None, "accuracy %") == "–"
    assert cell(mean_of([0.012]), "accuracy, points %", "+") == "+1.20"
    assert cell(mean_of([1234.5]), "images/s") == "1234.5"


def test_the_page_shows_only_records_that_are_current(plan: Plan) -> None:
    assert [section.title for section in sections(plan)] == [
        "Alpha",
        "Comparison with the paper",
        "Accuracy against alpha",
        "What alpha does",
    ]
    assert [model.name for model in models_of(without(plan, 0))] == [
        run.run.label for run in plan.runs[1:]
    ]
    (model, *_) = models_of(plan)
    Record("samples", {}, {}).save(model.records)
    assert model.audits_made() == ["classification"]
    with pytest.raises(RunError, match="no current record of the samples audit"):
        model.record("samples")
