"""A metric against another one: a curve for each preset, and which of two curves is better."""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from condgen.reports.evidence import difference
from condgen.reports.figures import CYCLE, STYLE, plain
from condgen.reports.tables import Table
from condgen.studies.cells import cell, error_bars, json_of, scaled
from condgen.studies.metrics import Numbers, Value, mean_of
from condgen.studies.page import TradeOff

PLACES = 5  # values of x at which two curves are compared
APART = 0.06  # of the width of a curve, between two labels

Point = tuple[str, Value, Value]


@dataclass(frozen=True)
class Curve:
    """The points of one seed: ``x`` (lower is better) and ``y`` (higher is better)."""

    points: tuple[tuple[Value, Value], ...]

    @property
    def least(self) -> float:
        return min(x.value for x, _ in self.points)

    def best(self, limit: float) -> Value:
        """The best ``y`` among the points whose ``x`` is at most ``limit``."""
        return max((y for x, y in self.points if x.value <= limit), key=lambda y: y.value)


def curves_of(numbers: Numbers, asked: TradeOff, line: str) -> dict[int, Curve]:
    """The curve of a preset for each seed that has both metrics of all its settings."""
    cases = [
        (numbers.of(asked.x, case), numbers.of(asked.y, case))
        for case in numbers.plan.study.lines[line]
    ]
    seeds = set.intersection(*(x.keys() & y.keys() for x, y in cases))
    return {seed: Curve(tuple((x[seed], y[seed]) for x, y in cases)) for seed in sorted(seeds)}


def trade_off_figure(numbers: Numbers, asked: TradeOff) -> Figure:
    """``y`` against ``x``, with a curve for each preset and a mark for each of its settings."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.2, 3.4), layout="constrained")
        axes = figure.subplots()
        for place, line in enumerate(asked.curves):
            cases = numbers.plan.study.lines[line]
            shown = [
                (run.variation, scaled(x, asked.x_label), scaled(y, asked.y_label))
                for case, run in cases.items()
                if (x := numbers.statistic(asked.x, case))
                and (y := numbers.statistic(asked.y, case))
            ]
            color = CYCLE[place % len(CYCLE)]
            _, caps, bars = axes.errorbar(
                [x.value for _, x, _ in shown],
                [y.value for _, _, y in shown],
                xerr=error_bars([x for _, x, _ in shown]),
                yerr=error_bars([y for _, _, y in shown]),
                marker="o",
                markersize=3.5,
                capsize=2,
                elinewidth=0.7,
                color=color,
                label=plain(line),
            )
            for part in (*caps, *bars):
                part.set_alpha(0.4)
            for words, x, y in _apart(shown):
                axes.annotate(
                    plain(words.rpartition("=")[2]),
                    (x.value, y.value),
                    xytext=(4, -9 if place else 4),
                    textcoords="offset points",
                    fontsize=6,
                    color=color,
                )
        axes.set(xlabel=plain(asked.x_label), ylabel=plain(asked.y_label))
        axes.legend(fontsize=7, loc="lower right")
        return figure


def _apart(shown: Sequence[Point]) -> list[Point]:
    """The points whose labels do not overlap: those that are far enough from the one before."""
    widths = [x.value for _, x, _ in shown]
    least = APART * (max(widths, default=0.0) - min(widths, default=0.0))
    kept: list[Point] = []
    for point in shown:
        if not kept or abs(point[1].value - kept[-1][1].value) >= least:
            kept.append(point)
    return kept


def trade_off_table(numbers: Numbers, asked: TradeOff, name: str) -> Table:
    """The best ``y`` of each curve at equal limits of ``x``, and their difference."""
    first, second = asked.curves
    ours, theirs = (curves_of(numbers, asked, line) for line in asked.curves)
    seeds = sorted(ours.keys() & theirs.keys())
    rows, values, verdicts = [], [], []
    for limit in _limits([*(ours[seed] for seed in seeds), *(theirs[seed] for seed in seeds)]):
        pairs = [(ours[seed].best(limit), theirs[seed].best(limit)) for seed in seeds]
        found = {
            first: mean_of([a.value for a, _ in pairs]) if len(seeds) > 1 else pairs[0][0],
            second: mean_of([b.value for _, b in pairs]) if len(seeds) > 1 else pairs[0][1],
            "difference": _difference(pairs),
        }
        verdicts.append(
            _better(found["difference"], first, second) if len(seeds) > 1 else "one seed"
        )
        written = [
            cell(value, asked.y_label, "+" if head == "difference" else "")
            for head, value in found.items()
        ]
        rows.append((f"{limit:.3f}", *written, verdicts[-1]))
        values.append({asked.x_label: limit, **json_of(found), "better": verdicts[-1]})
    head = (f"{asked.x_label} at most", first, second, "difference", "better")
    caption = _caption(asked, len(seeds), verdicts)
    return Table(name, asked.title, caption, head, tuple(rows), tuple(values))


def _caption(asked: TradeOff, seeds: int, verdicts: Sequence[str]) -> str:
    if not seeds:
        return "No seed has all settings of both presets yet."
    first, second = asked.curves
    over = f"mean over {seeds} seeds" if seeds > 1 else "one seed"
    interval = "Student, paired by seed" if seeds > 1 else "over its test images"
    caption = (
        f"The best {asked.y_label} of any model with at most so much {asked.x_label}, {over},"
        f" chosen by these numbers. Difference: {first} minus {second}, 95 % interval ({interval})."
    )
    if seeds == 1:
        return caption
    counted = ", ".join(f"{word} at {verdicts.count(word)}" for word in dict.fromkeys(verdicts))
    return f"{caption} Better: {counted} of {len(verdicts)} limits, which share models."


def _limits(curves: Sequence[Curve]) -> list[float]:
    """Limits of ``x`` from the first that all curves reach to the largest ``x``."""
    if not curves:
        return []
    start = max(curve.least for curve in curves)
    end = max(x.value for curve in curves for x, _ in curve.points)
    return [float(limit) for limit in np.linspace(start, end, PLACES)]


def _difference(pairs: Sequence[tuple[Value, Value]]) -> Value:
    if len(pairs) > 1:
        return mean_of([a.value - b.value for a, b in pairs])
    a, b = pairs[0]
    if a.interval is None or b.interval is None:
        return Value(a.value - b.value)
    return Value(*difference((a.value, a.interval), (b.value, b.interval)))


def _better(found: Value, first: str, second: str) -> str:
    """Which curve is better at a limit: the interval of the difference decides."""
    low, high = found.interval or (-1.0, 1.0)
    return first if low > 0 else second if high < 0 else "undecided"
