"""The report of a study: sections of the study, then those of the audits."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from condgen.audits.records import Record
from condgen.errors import RunError
from condgen.registry import AUDITS
from condgen.reports import write_report
from condgen.reports.figures import CYCLE, STYLE, plain
from condgen.reports.layout import PageSection
from condgen.reports.tables import Table
from condgen.runs import Run
from condgen.studies.cells import cell, error_bars, json_of
from condgen.studies.metrics import Numbers, Value
from condgen.studies.overview import plan_table
from condgen.studies.page import Comparison, Difference, SweepFigure, SweepTable
from condgen.studies.plan import Plan, PlannedRun
from condgen.studies.study import StudyRun, setting_of
from condgen.studies.trade_off import trade_off_figure, trade_off_table

INTERVALS = (
    "Brackets: 95 % intervals; for several seeds, Student's interval of their mean; for one seed,"
    " that of its record."
)


@dataclass(frozen=True)
class StudiedRun(Run):
    """A run under its label, with only the records that the study asks for and that are current."""

    label: str = ""
    current: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.label

    def audits_made(self) -> list[str]:
        return [audit for audit in super().audits_made() if audit in self.current]

    def has(self, audit: str) -> bool:
        return audit in self.current and super().has(audit)

    def record(self, audit: str) -> Record:
        if not self.has(audit):
            raise RunError(
                f"{self.path} has no current record of the {audit} audit; continue the study."
            )
        return super().record(audit)


def write_study_report(plan: Plan, directory: Path) -> Path:
    """Write the page of a study from all existing records; see :func:`condgen.write_report`."""
    page = plan.study.page
    return write_report(
        models_of(plan),
        directory,
        counterexample=page.counterexample,
        claims=page.claims,
        extra=list(sections(plan)),
        last=[PageSection(f"Steps of the study: {page.title}", plan_table(plan))],
    )


def models_of(plan: Plan) -> list[StudiedRun]:
    """The runs with at least one record."""
    models = [_studied(run) for run in plan.runs if any(run.has(audit) for audit in run.run.audits)]
    return [model for model in models if model.audits_made()]


def _studied(planned: PlannedRun) -> StudiedRun:
    current = tuple(AUDITS.get(audit).name for audit in planned.run.audits if planned.has(audit))
    return StudiedRun(planned.path, Run.open(planned.path).config, planned.run.label, current)


def sections(plan: Plan) -> Iterator[PageSection]:
    """The sections that the study's page asks for."""
    page, numbers = plan.study.page, Numbers(plan)
    for place, table in enumerate(page.table, 1):
        yield PageSection(table.title, sweep_table(numbers, table, f"sweep-{place}"))
    if page.compare:
        yield PageSection("Comparison with the paper", comparison_table(numbers, page.compare))
    for place, figure in enumerate(page.figure, 1):
        words = (
            f"{figure.y} against {figure.x}, one line for each preset."
            f" {INTERVALS.replace('Brackets', 'Bars')}"
        )
        yield PageSection(
            figure.title, None, [(f"sweep-figure-{place}", words, sweep_figure(numbers, figure))]
        )
    for place, curves in enumerate(page.trade_off, 1):
        words = (
            f"{curves.y_label} against {curves.x_label}: a mark for each setting."
            f" {INTERVALS.replace('Brackets', 'Bars')}"
        )
        yield PageSection(
            curves.title,
            trade_off_table(numbers, curves, f"trade-off-{place}"),
            [(f"trade-off-figure-{place}", words, trade_off_figure(numbers, curves))],
        )
    for place, difference in enumerate(page.difference, 1):
        yield PageSection(
            difference.title, difference_table(numbers, difference, f"difference-{place}")
        )


def sweep_table(numbers: Numbers, asked: SweepTable, name: str) -> Table:
    """A row for each case: a statistic of each metric over the seeds."""
    rows, values = [], []
    for case, runs in numbers.plan.study.cases.items():
        found = {
            head: numbers.statistic(metric, case, asked.statistic)
            for head, metric in asked.columns.items()
        }
        failed = len(numbers.failed(case))
        n = max((value.n for value in found.values() if value), default=0)
        seeds = str(n) if n == len(runs) else f"{n} of {len(runs)}"
        rows.append(
            (case, *(cell(value, head) for head, value in found.items()), seeds, str(failed))
        )
        values.append({"run": case, **json_of(found), "seeds": n, "failed": failed})
    over = {
        "mean": INTERVALS,
        "max": "The maximum over the seeds.",
        "min": "The minimum over the seeds.",
    }[asked.statistic]
    caption = f"{over} Failed: runs with a failed step."
    return Table(
        name,
        asked.title,
        caption,
        ("run", *asked.columns, "seeds", "failed"),
        tuple(rows),
        tuple(values),
    )


def comparison_table(numbers: Numbers, asked: Sequence[Comparison]) -> Table:
    """Our numbers and the paper's."""
    rows, values = [], []
    for comparison in asked:
        for label, paper in comparison.paper.items():
            ours = numbers.statistic(comparison.ours, numbers.plan.study.case_of(label))
            seeds = str(ours.n) if ours else "0"
            rows.append(
                (
                    comparison.what,
                    label,
                    cell(ours, comparison.what),
                    f"{paper:g}",
                    seeds,
                    comparison.claim,
                )
            )
            values.append(
                {"what": comparison.what, "run": label, **json_of({"ours": ours}), "paper": paper}
            )
    caption = f"The claim is the paper's. {INTERVALS}"
    return Table(
        "paper",
        "Comparison with the paper",
        caption,
        ("what", "run", "ours", "paper", "seeds", "claim"),
        tuple(rows),
        tuple(values),
    )


def difference_table(numbers: Numbers, asked: Difference, name: str) -> Table:
    """Mean differences, first minus second, over the seeds that both have."""
    rows, values = [], []
    for labels in asked.between:
        first, second = map(numbers.plan.study.case_of, labels)
        found = {
            head: numbers.difference(metric, first, second)
            for head, metric in asked.columns.items()
        }
        n = max((value.n for value in found.values() if value), default=0)
        words = " minus ".join(labels)
        failed = len({*numbers.failed(first), *numbers.failed(second)})
        said = {"verdict": verdict(found, asked.margins)} if asked.margins else {}
        if asked.margins and failed:
            asked_for = len(numbers.plan.study.cases[first])
            said = {"verdict": f"{failed} of {asked_for} seeds failed"}
        written = (cell(value, head, "+") for head, value in found.items())
        rows.append((words, *written, str(n), str(failed), *said.values()))
        values.append({"difference": words, **json_of(found), "seeds": n, "failed": failed, **said})
    caption = (
        "Paired by seed. Brackets: Student's 95 % interval of the mean difference over the seeds."
    )
    if asked.claim:
        caption += f" {asked.claim}"
    if asked.margins:
        caption += (
            f' "No difference": all intervals are within {margin_words(asked.margins)}. "Differs":'
            " an interval is beyond its margin."
        )
    return Table(
        name,
        asked.title,
        caption,
        ("difference", *asked.columns, "seeds", "failed", *(("verdict",) if asked.margins else ())),
        tuple(rows),
        tuple(values),
    )


def verdict(found: Mapping[str, Value | None], margins: Mapping[str, float]) -> str:
    """Equivalence of two cases within margins, from the intervals of their differences.

    >>> verdict({"accuracy %": Value(0.02, (0.011, 0.03))}, {"accuracy %": 0.01})
    'differs: accuracy %'
    >>> verdict({"accuracy %": Value(0.02, (-0.01, 0.05))}, {"accuracy %": 0.01})
    'undecided: accuracy %'
    >>> verdict({"accuracy %": Value(0.002, (-0.001, 0.005))}, {"accuracy %": 0.01})
    'no difference'
    """
    differs: list[str] = []
    undecided: list[str] = []
    for head, margin in margins.items():
        value = found[head]
        if value is None or value.interval is None:
            undecided.append(head)
            continue
        low, high = value.interval
        if low > -margin and high < margin:
            continue
        (differs if low > margin or high < -margin else undecided).append(head)
    if differs:
        return f"differs: {', '.join(differs)}"
    return f"undecided: {', '.join(undecided)}" if undecided else "no difference"


def margin_words(margins: Mapping[str, float]) -> str:
    """Margins as text.

    >>> margin_words({"accuracy %": 0.01, "bits/dim": 0.05})
    'accuracy ±1 %, bits/dim ±0.05'
    """
    return ", ".join(
        f"{head[:-2]} ±{100 * margin:g} %" if head.endswith(" %") else f"{head} ±{margin:g}"
        for head, margin in margins.items()
    )


def sweep_figure(numbers: Numbers, asked: SweepFigure) -> Figure:
    """A metric against a setting, with a line for each preset."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.6, 3.0), layout="constrained")
        axes = figure.subplots()
        for place, (line, cases) in enumerate(numbers.plan.study.lines.items()):
            color = CYCLE[place % len(CYCLE)]
            _draw(axes, numbers, asked, cases, color=color, label=plain(line))
        axes.set(
            xlabel=plain(asked.x), ylabel=plain(asked.y), xscale="log" if asked.log else "linear"
        )
        axes.legend(fontsize=7)
        return figure


def _draw(
    axes: Any, numbers: Numbers, asked: SweepFigure, cases: Mapping[str, StudyRun], **look: str
) -> None:
    found = {
        float(setting_of(run.config, asked.x)): numbers.statistic(asked.y, case)
        for case, run in cases.items()
    }
    points = [
        (x, value) for x, value in sorted(found.items(), key=lambda at: at[0]) if value is not None
    ]
    x, y = [place for place, _ in points], [value.value for _, value in points]
    error = error_bars([value for _, value in points])
    axes.errorbar(x, y, yerr=error, marker="o", markersize=3.5, capsize=2, **look)
