"""Paths between classes at several steps of training."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from condgen.reports.audited import Audited
from condgen.reports.figures import CYCLE, GRAY, plain
from condgen.reports.sections.cells import bits, estimate, share
from condgen.reports.sections.section import Part, Section
from condgen.reports.tables import MISSING, Summary, Table, summaries_of

AUDIT = "snapshots"


def snapshots_table(models: Sequence[Audited]) -> Table:
    """A row for each snapshot of each model."""
    summaries = summaries_of(models, AUDIT)
    lines = [(name, s, line) for name, s in summaries.items() for line in s["snapshots"]]
    return Table(
        "snapshots",
        "Paths between classes during training",
        "Each row is the model at a step of its training, with a detector fitted at that step."
        " Bits/dim of log p(x). Brackets: 95 % intervals.",
        (
            "model",
            "step",
            "accuracy %",
            "bits/dim",
            "middle - ends",
            "accepted at every step %",
            "n",
            "paths",
        ),
        tuple((name, *_cells(s, line)) for name, s, line in lines),
        tuple({"model": name, **line} for name, _, line in lines),
    )


def _cells(summary: Summary, line: Summary) -> tuple[str, ...]:
    return (
        str(line["step"]),
        share(line["accuracy"], line["accuracy_ci"]),
        bits(line["bits_per_dim"], line["bits_per_dim_ci"]),
        estimate(line.get("middle_minus_ends"), line.get("middle_minus_ends_ci")),
        share(line.get("accepted_at_every_step"), line.get("accepted_at_every_step_ci")),
        str(summary["n"]),
        str(summary["pairs"]) if "middle_minus_ends" in line else MISSING,
    )


def paths_during_training(models: Sequence[Audited]) -> Figure:
    """Middle - ends and share of accepted paths against bits/dim; a row of panels per data set."""
    summaries = summaries_of(models, AUDIT)
    names = list(dict.fromkeys(str(s["data"]) for s in summaries.values()))
    figure = Figure(figsize=(7.2, 2.6 * len(names)), layout="constrained")
    rows = figure.subplots(len(names), 2, squeeze=False)
    for (left, right), data in zip(rows, names, strict=True):
        own = {name: s for name, s in summaries.items() if str(s["data"]) == data}
        for color, (name, summary) in zip(CYCLE * len(own), own.items(), strict=False):
            _curve(left, summary, "middle_minus_ends", 1.0, color, name)
            _curve(right, summary, "accepted_at_every_step", 100.0, color, name)
        left.axhline(0, color=GRAY, linewidth=0.8)
        simple: dict[str, float] = next(
            (s["simple_densities"] for s in own.values() if s["simple_densities"]), {}
        )
        for axes in (left, right):
            axes.set_title(plain(data))
            axes.set_xlabel("bits/dim (better to the right)")
            axes.invert_xaxis()
            if simple:
                best = min(simple, key=lambda name: simple[name])
                axes.axvline(
                    simple[best],
                    color=GRAY,
                    linestyle="--",
                    linewidth=1,
                    label=f"{best}, {simple[best]:.2f}",
                )
        left.set_ylabel("middle - ends, bits/dim")
        right.set(ylabel="paths accepted, %", ylim=(-3, 103))
        if right.get_legend_handles_labels()[0]:
            right.legend(fontsize=7)
    return figure


def _curve(axes: Any, summary: Summary, key: str, times: float, color: str, label: str) -> None:
    lines = [
        line
        for line in summary["snapshots"]
        if line.get(key) is not None and line["bits_per_dim"] is not None
    ]
    if not lines:
        return
    x, y = (np.array([line[name] for line in lines], np.float64) for name in ("bits_per_dim", key))
    spans = np.array([line[f"{key}_ci"] for line in lines], np.float64).T
    error = np.clip(np.stack([y - spans[0], spans[1] - y]), 0, None)
    axes.errorbar(
        x,
        times * y,
        times * error,
        color=color,
        marker="o",
        markersize=3.5,
        linewidth=1.2,
        label=plain(label),
    )


def words(name: str, summary: Summary) -> str:
    """Whether the sign of middle - ends changes from the first snapshot to the last."""
    lines = [line for line in summary["snapshots"] if line.get("middle_minus_ends") is not None]
    if len(lines) < 2:
        return f"{name} has too few snapshots with paths between classes to tell."
    first, last = lines[0], lines[-1]
    changed = (first["middle_minus_ends"] > 0) != (last["middle_minus_ends"] > 0)
    return (
        f"{name}: at {bits(first['bits_per_dim'])} bits/dim, the middle between two classes differs"
        f" from the ends by {estimate(first['middle_minus_ends'], first['middle_minus_ends_ci'])},"
        f" at {bits(last['bits_per_dim'])} by"
        f" {estimate(last['middle_minus_ends'], last['middle_minus_ends_ci'])}: the sign"
        f" {'changes' if changed else 'does not change'} during training. In the last snapshot,"
        f" {share(last['accepted_at_every_step'], last['accepted_at_every_step_ci'])} % of the"
        " paths are accepted at every step."
    )


SECTION = Section(
    AUDIT,
    (
        Part(
            "Do the results hold during training?",
            table=snapshots_table,
            words=lambda model: words(model.name, model.record(AUDIT).summary),
            overview=paths_during_training,
            overview_words="Each point is a model at a step of its training. Bars: 95 % intervals.",
        ),
    ),
)
