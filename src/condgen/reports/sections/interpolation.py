"""Figs. 1 and 4: paths between images of different classes."""

from collections.abc import Sequence
from itertools import cycle, product
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from condgen.audits import intervals
from condgen.audits.records import Record
from condgen.reports.audited import Audited
from condgen.reports.detectors import detector_of, rejects_bits_per_dim, threshold_columns
from condgen.reports.figures import BLUE, CYCLE, GRAY, ORANGE, class_name, draw_threshold, plain
from condgen.reports.images import draw_image
from condgen.reports.paper import paths_of
from condgen.reports.sections.cells import bits, estimate, first_warnings, notes_on
from condgen.reports.sections.section import Finding, Part, Section
from condgen.reports.tables import MISSING, Summary, Table, model_table, percent, summaries_of

AUDIT = "interpolation"
EXAMPLES = 2


def interpolation_table(models: Sequence[Audited]) -> Table:
    """The numbers of Fig. 4."""
    summaries = {model.name: _with_paper(model) for model in models}
    known = any("paper" in summary for summary in summaries.values())
    paper = {"paper: accepted %": _paper} if known else {}
    return model_table(
        "interpolation",
        "Paths between classes (numbers of Fig. 4)",
        "Mean bits/dim at the two ends and in the middle; share of the paths that the detector"
        " accepts at every step. Brackets: 95 % intervals, which account for paths that share"
        " images."
        f"{notes_on(summaries)}",
        summaries,
        {
            "ends": lambda s: bits(s["bits_per_dim_ends"], digits=2),
            "middle": lambda s: bits(s["bits_per_dim_middle"], digits=2),
            "middle - ends": lambda s: estimate(s["middle_minus_ends"], s["middle_minus_ends_ci"]),
            "accepted at every step %": lambda s: percent(
                s["accepted_at_every_step"], s["accepted_at_every_step_ci"]
            ),
            **paper,
            **threshold_columns(summaries.values()),
            "paths": lambda s: str(s["pairs"]),
        },
    )


def _with_paper(model: Audited) -> Summary:
    """The summary, with the paper's number for the same data set."""
    summary, accepted = model.record(AUDIT).summary, paths_of(model)
    return summary if accepted is None else {**summary, "paper": {"accepted_percent": accepted}}


def _paper(summary: Summary) -> str:
    return f"{summary['paper']['accepted_percent']:.1f}" if "paper" in summary else MISSING


def interpolation_means(model: Audited) -> Figure:
    """Fig. 4: mean bits/dim, class posteriors and, if it is not bits/dim, the detector's score."""
    record = model.record(AUDIT)
    summary, detector = record.summary, detector_of(record.summary)
    rows: list[Any] = [["bits_per_dim", "posterior"]]
    height = 2.5
    if _has_own_panel(record):
        rows, height = [["bits_per_dim", "score"], ["posterior", "."]], 4.6
    figure = Figure(figsize=(5.6, height), layout="constrained")
    axes = figure.subplot_mosaic(rows)
    bits = axes["bits_per_dim"]
    _band(bits, summary["alpha"], summary["bits_per_dim"], summary["bits_per_dim_ci"])
    bits.set(ylabel="bits/dim", title=f"{plain(model.name)}: {summary['pairs']} paths")
    if rejects_bits_per_dim(record):
        draw_threshold(bits, detector.threshold, "detector's threshold")
    if "score" in axes:
        scores = record.arrays["score"].astype(np.float64)
        means, spans = intervals.paired_spans(scores, record.arrays["index"])
        _band(axes["score"], summary["alpha"], means, spans)
        draw_threshold(axes["score"], detector.threshold, "detector's threshold")
        axes["score"].set(ylabel=plain(detector.axis), title="detector's score")
    for axis in (panel for name, panel in axes.items() if name != "posterior"):
        axis.set(xlabel="interpolation α", xlim=(0, 1))
        axis.margins(y=0.25)
        axis.legend(fontsize=7)
    _draw_posteriors(axes["posterior"], summary)
    return figure


def interpolation_examples(model: Audited) -> Figure:
    """Fig. 1: single paths: bits/dim and the detector's score above, images below."""
    record = model.record(AUDIT)
    strips = record.arrays["strips"][:EXAMPLES]
    if not len(strips):  # a record at another threshold may have none
        return Figure(figsize=(5.2, 0.4))
    curves = ["bits_per_dim", *(["score"] if _has_own_panel(record) else [])]
    each = len(curves) + 1
    figure = Figure(figsize=(5.2, (1.0 + 0.9 * len(curves)) * len(strips) + 0.4))
    figure.set_layout_engine("constrained")
    heights = [*(2.6 if len(curves) == 1 else 2.0 for _ in curves), 1.0] * len(strips)
    panels = figure.subplots(each * len(strips), 1, height_ratios=heights, squeeze=False)[:, 0]
    for path, strip in enumerate(strips):
        own = panels[each * path : each * (path + 1)]
        for axes, kind in zip(own, curves, strict=False):
            _draw_path(axes, record, kind, path)
        start, end = (class_name(model, label) for label in record.arrays["label"][path])
        own[0].set_title(f"from class {start} to class {end}")
        draw_image(own[-1], np.concatenate(strip, axis=-1))
    return figure


def _draw_path(axes: Any, record: Record, kind: str, path: int) -> None:
    """Bits/dim or scores along one path, with the threshold where it applies."""
    detector = detector_of(record.summary)
    axes.plot(record.arrays["alpha"], record.arrays[kind][path], color=BLUE)
    own = kind == "score"
    axes.set(ylabel=plain(detector.axis.replace(", ", ",\n")) if own else "bits/dim")
    axes.set(xlim=(0, 1), xticks=[])
    axes.yaxis.set_major_formatter("{x:.2f}")  # equal widths, so that the label fits
    if own or rejects_bits_per_dim(record):
        draw_threshold(axes, detector.threshold, f"threshold {plain(detector.words)}")
        axes.legend(loc="best", fontsize=7)


def _has_own_panel(record: Record) -> bool:
    """Whether the record has detector scores that are not bits/dim."""
    return "score" in record.arrays and not rejects_bits_per_dim(record)


def _band(axes: Any, alpha: Any, means: Any, spans: Any) -> None:
    """Draw a curve with its intervals, without ``None`` and infinite values."""
    means, spans = (np.asarray(values, np.float64) for values in (means, spans))
    low, high = np.where(np.isfinite(spans), spans, np.nan).T
    axes.plot(
        alpha, np.where(np.isfinite(means), means, np.nan), color=BLUE, label="mean, 95 % interval"
    )
    axes.fill_between(alpha, low, high, color=BLUE, alpha=0.2, linewidth=0)


def _draw_posteriors(axes: Any, summary: Summary) -> None:
    for end, color in ((0, BLUE), (1, ORANGE)):
        axes.plot(
            summary["alpha"], summary[f"posterior_{end}"], color=color, label=f"class at α = {end}"
        )
    axes.set(xlabel="interpolation α", ylabel="mean p(y | x)", xlim=(0, 1), ylim=(0, 1.02))
    axes.set_title("class posteriors")
    axes.legend(fontsize=7, loc="upper center")


def words(name: str, summary: Summary) -> str:
    """A paragraph on Figs. 1 and 4."""
    low, high = summary["middle_minus_ends_ci"]
    if low is None or high is None:
        seen = "impossible under the model on some paths"
    elif low > 0:
        seen = "less likely than real images, as it should be"
    elif high < 0:
        seen = "more likely than real images, although it is not a real image"
    else:
        seen = "as likely as real images, within the interval"
    share, span = summary["accepted_at_every_step"], summary["accepted_at_every_step_ci"]
    return (
        f"For {name}, the middle between two images of different classes is {seen}:"
        f" {bits(summary['bits_per_dim_middle'], digits=2)} bits/dim against"
        f" {bits(summary['bits_per_dim_ends'], digits=2)} at the ends, a difference of"
        f" {estimate(summary['middle_minus_ends'], summary['middle_minus_ends_ci'])}. Of"
        f" {summary['pairs']} paths between classes, {percent(share, span)} % are accepted at every"
        f" step: the detector {_decides(*span)}."
    )


def _decides(fewest: float, most: float) -> str:
    """The conclusion that the interval of the accepted share supports."""
    if fewest > 0.5:
        return "rejects almost no path" if fewest > 0.9 else "accepts most paths"
    if most < 0.5:
        return "rejects almost every path" if most < 0.1 else "rejects most paths"
    return "rejects some paths and accepts others"


def verdict(models: Sequence[Audited]) -> str:
    """Which models' detectors reject most paths between classes."""
    spans = {
        name: summary["accepted_at_every_step_ci"]
        for name, summary in summaries_of(models, AUDIT).items()
    }
    rejected = [name for name, (_, most) in spans.items() if most < 0.5]
    accepted = [name for name, (fewest, _) in spans.items() if fewest > 0.5]
    unclear = [name for name in spans if name not in (*rejected, *accepted)]
    found = {
        "the detector rejects most paths between classes": rejected,
        "the detector accepts most paths between classes at every step": accepted,
        "it is unknown whether the detector accepts most paths between classes": unclear,
    }
    parts = [f"for {_listed(names)}, {what}" for what, names in found.items() if names]
    contrast = " So the answer depends on the model." if rejected and accepted else ""
    return f"Ambiguous images: {'; '.join(parts)}.{contrast}{first_warnings(models, AUDIT)}"


def answer(models: Sequence[Audited]) -> Finding:
    """For how many models the detector accepts most paths between classes."""
    summaries = summaries_of(models, AUDIT)
    spans = [summary["accepted_at_every_step_ci"] for summary in summaries.values()]
    accepted, rejected = sum(low > 0.5 for low, _ in spans), sum(high < 0.5 for _, high in spans)
    of_all, paths = f"of {len(spans)} models", "most paths between classes"
    if accepted:
        return Finding(False, f"for {accepted} {of_all} the detector accepts {paths}")
    trusted = True if rejected == len(spans) else None
    return Finding(trusted, f"for {rejected} {of_all} the detector rejects {paths}")


def paths_of_all_models(models: Sequence[Audited]) -> Figure:
    """Mean bits/dim along the paths of each model, less those at the ends."""
    figure = Figure(figsize=(6.4, 3.0), layout="constrained")
    axes = figure.subplots()
    summaries = summaries_of(models, AUDIT)
    looks = cycle(product(("-", "--", ":"), CYCLE))
    for (line, color), (name, summary) in zip(looks, summaries.items(), strict=False):
        if summary["bits_per_dim_ends"] is None:
            continue
        above = np.asarray(summary["bits_per_dim"], np.float64) - summary["bits_per_dim_ends"]
        label = f"{plain(name)}: {100 * summary['accepted_at_every_step']:.0f} % accepted"
        axes.plot(summary["alpha"], above, line, color=color, label=label)
    axes.axhline(0, color=GRAY, linewidth=0.8)
    axes.set(xlabel="interpolation α between two images", xlim=(0, 1))
    axes.set_ylabel("bits/dim above the ends")
    axes.margins(y=0.2)
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _example_words(model: Audited) -> str:
    some = len(model.record(AUDIT).arrays["strips"])
    return f"Fig. 1: {model.name}" if some else f"{model.name}: the record has no images of paths"


SECTION = Section(
    AUDIT,
    (
        Part(
            "Figs. 4 and 6: paths between classes",
            table=interpolation_table,
            figure=interpolation_means,
            words=lambda model: words(model.name, model.record(AUDIT).summary),
        ),
        Part(
            "Fig. 1: single paths",
            figure=interpolation_examples,
            words=_example_words,
        ),
    ),
    verdict,
    answer,
    paths_of_all_models,
    "Mean bits/dim along straight lines between images of two classes, less those of their ends."
    " The middle is no real image, so a curve should rise. Accepted: paths that the detector"
    " accepts at every step.",
    order=4,
)
