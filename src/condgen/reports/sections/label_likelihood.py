"""Fig. 3: the likelihood of images under right and under wrong labels."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from condgen.reports.audited import Audited
from condgen.reports.figures import BLUE, ORANGE, plain
from condgen.reports.sections.cells import bits, notes_on
from condgen.reports.sections.section import Part, Section
from condgen.reports.tables import MISSING, Summary, Table, model_table, number, summaries_of

AUDIT = "label-likelihood"


def label_likelihood_table(models: Sequence[Audited]) -> Table:
    """The numbers of Fig. 3."""
    summaries = summaries_of(models, AUDIT)
    return model_table(
        "label-likelihood",
        "Label likelihood (numbers of Fig. 3)",
        "Bits/dim under the right class and under the likeliest wrong class; mean gap, and standard"
        " deviation under the right class (spread), in nats. AUROC: of bits/dim as a detector of"
        f" wrong labels; 0.5 is guessing. Brackets: 95 % intervals.{notes_on(summaries)}",
        summaries,
        {
            "right class": lambda s: bits(s["bits_per_dim_right"]),
            "wrong class": lambda s: bits(s["bits_per_dim_wrong"]),
            "gap, nats": lambda s: _nats(s["gap_nats"]),
            "spread, nats": lambda s: _nats(s["spread_nats"]),
            "AUROC": lambda s: number(s["auroc"], s["auroc_ci"]),
            "n": lambda s: str(s["n"]),
        },
    )


def label_likelihood_histogram(model: Audited) -> Figure:
    """Fig. 3: bits/dim under the right class and under the likeliest wrong class."""
    record = model.record(AUDIT)
    right, wrong = record.arrays["bits_per_dim_right"], record.arrays["bits_per_dim_wrong"]
    # without images of likelihood 0
    right, wrong = (values[np.isfinite(values)] for values in (right, wrong))
    both = np.concatenate([right, wrong])
    low, high = np.quantile(both, [0.002, 0.998]) if len(both) else (0, 1)
    bins = np.linspace(low, high, 40).tolist()
    figure = Figure(figsize=(4.0, 2.8), layout="constrained")
    axes = figure.subplots()
    axes.hist(right, bins=bins, color=BLUE, alpha=0.65, label="right class")
    axes.hist(wrong, bins=bins, color=ORANGE, alpha=0.65, label="likeliest wrong class")
    auroc = record.summary["auroc"]
    axes.set(xlabel="bits/dim", ylabel="test images")
    axes.set_title(f"{plain(model.name)}\nAUROC {auroc:.2f} (positive: wrong label)")
    axes.margins(y=0.25)  # room for the legend above the bars
    axes.legend(fontsize=7, loc="upper right", ncols=2)
    return figure


def words(name: str, summary: Summary) -> str:
    """A paragraph on Fig. 3."""
    gap, (least, most) = summary["gap_nats"], summary["gap_nats_ci"]
    cost = (
        f"A wrong label costs {name} an infinite number of nats on average: some images have"
        " likelihood 0."
        if gap is None or least is None
        else f"A wrong label costs {name} {gap:.1f} [{least:.1f}, {most:.1f}] nats on average."
    )
    return (
        f"{cost} Under their right labels, the log-likelihoods of images differ by"
        f" {_nats(summary['spread_nats'])} nats (standard deviation). As a detector of wrong"
        " labels, the likelihood has an AUROC of"
        f" {number(summary['auroc'], summary['auroc_ci'])}: {_verdict(*summary['auroc_ci'])}."
    )


def _nats(value: float | None) -> str:
    return MISSING if value is None else f"{value:.1f}"


def _verdict(low: float, high: float) -> str:
    """The conclusion that the AUROC's interval supports."""
    if low <= 0.5 <= high:
        return "indistinguishable from guessing, so the likelihood does not detect wrong labels"
    if high < 0.5:
        return "worse than guessing"
    if high < 0.75:
        return "little better than guessing, so the likelihood detects few wrong labels"
    if high < 0.95:
        return "better than guessing, but many wrong labels are as likely as right ones"
    return "the likelihood detects wrong labels"


SECTION = Section(
    AUDIT,
    (
        Part(
            "Fig. 3: label likelihood",
            table=label_likelihood_table,
            figure=label_likelihood_histogram,
            words=lambda model: words(model.name, model.record(AUDIT).summary),
        ),
    ),
    order=2,
)
