"""Table 1: accuracy and likelihood, and accuracy when unlikely images are rejected."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from condgen.audits import selective
from condgen.audits.records import Record
from condgen.reports.audited import Audited
from condgen.reports.detectors import detector_of, threshold_columns
from condgen.reports.figures import BLUE, GRAY, RED, plain
from condgen.reports.paper import classification_of
from condgen.reports.sections.cells import (
    bits,
    checks_of,
    estimate,
    first_warnings,
    notes_on,
    share,
)
from condgen.reports.sections.section import Part, Section
from condgen.reports.tables import MISSING, Summary, Table, model_table, percent
from condgen.reports.under_trained import MARK, is_under_trained

AUDIT = "classification"
SIMPLE = (
    "uniform, independent pixels and full-covariance Gaussian, shared by all classes and per class"
)
POINTS = 400  # of a curve
NEEDED = ("predicted", "label", "accepted", "bits_per_dim_deployed")  # arrays of a record


def classification_table(models: Sequence[Audited]) -> Table:
    """Table 1."""
    summaries = {model.name: _with_paper(model) for model in models}
    known = any("paper" in summary for summary in summaries.values())
    paper = {"paper: accuracy %, bits/dim": _paper, "difference": _difference} if known else {}
    return model_table(
        "table1",
        "Table 1: classification and likelihood",
        "Brackets: 95 % intervals (Wilson for shares, Student's t for means). Bits/dim: of log"
        " p(x). Given class: of log p(x|y). Both are averaged over new draws of the dequantization"
        " noise. As deployed: of log p(x) with the fixed draw that the detector and all other"
        f" tables use. Best simple density: the one with the highest likelihood among {SIMPLE},"
        f" fitted to the same training images. Accepted: by the detector.{notes_on(summaries)}",
        summaries,
        {
            "accuracy %": lambda s: percent(s["accuracy"], s["accuracy_ci"]),
            "accuracy by z_s alone %": _subspace,
            "bits/dim": lambda s: bits(s["bits_per_dim"], s["bits_per_dim_ci"]),
            **paper,
            "best simple density": _simple,
            "given class": lambda s: bits(s["bits_per_dim_given_class"]),
            "as deployed": lambda s: bits(
                s["bits_per_dim_deployed"], s["bits_per_dim_deployed_ci"]
            ),
            "accepted %": lambda s: percent(s["accepted"], s["accepted_ci"]),
            **threshold_columns(summaries.values()),
            "n": lambda s: str(s["n"]),
        },
    )


def rejection_table(models: Sequence[Audited]) -> Table:
    """Accuracy on accepted and on rejected images, and the AUROC of errors."""
    summaries = {model.name: completed(model.record(AUDIT)) for model in models}
    return model_table(
        "rejection",
        "Does rejecting unlikely images protect the classifier?",
        "Accuracy among the test images that the detector accepts, and among those that it rejects."
        " AUROC of errors: of the detector's score as a detector of misclassified images; 0.5 is"
        f" guessing. Brackets: 95 % intervals (Wilson, DeLong).{notes_on(summaries)}",
        summaries,
        {
            "accuracy %": lambda s: percent(s["accuracy"], s["accuracy_ci"]),
            "accepted %": lambda s: percent(s["accepted"], s["accepted_ci"]),
            "accuracy among accepted %": lambda s: share(
                s.get("accuracy_accepted"), s.get("accuracy_accepted_ci")
            ),
            "among rejected %": lambda s: share(
                s.get("accuracy_rejected"), s.get("accuracy_rejected_ci")
            ),
            "AUROC of errors": lambda s: estimate(
                s.get("auroc_misclassified"), s.get("auroc_misclassified_ci")
            ),
            "n": lambda s: str(s["n"]),
        },
    )


def completed(record: Record) -> Summary:
    """The summary with the numbers on rejection; for older records, computed from the arrays."""
    if "auroc_misclassified" in record.summary or any(name not in record.arrays for name in NEEDED):
        return record.summary
    return {**record.summary, **selective.summarize(record.arrays)}


def words(name: str, summary: Summary) -> str:
    """A paragraph on Table 1."""
    detector = detector_of(summary)
    text = (
        f"{name} classifies {percent(summary['accuracy'], summary['accuracy_ci'])} % of"
        f" {summary['n']} test images correctly, at"
        f" {bits(summary['bits_per_dim'], summary['bits_per_dim_ci'])} bits/dim. Its"
        f" {detector.name} detector (threshold {detector.words}) accepts"
        f" {percent(summary['accepted'], summary['accepted_ci'])} % of them."
    )
    if "subspace_accuracy" in summary:
        text += f" The class subspace z_s alone classifies {_subspace(summary)} % correctly."
    return text


def risk_coverage(model: Audited) -> Figure:
    """Risk-coverage curve, beside those of random rejection and of rejecting the errors first."""
    record = model.record(AUDIT)
    arrays, detector = record.arrays, detector_of(record.summary)
    correct, accepted = arrays["predicted"] == arrays["label"], arrays["accepted"].astype(bool)
    coverage, risk = selective.risk_coverage(selective.unlikeness(arrays), correct)
    shown = np.unique(np.linspace(0, len(coverage) - 1, POINTS).astype(int))
    figure = Figure(figsize=(4.0, 2.8), layout="constrained")
    axes = figure.subplots()
    overall, share_correct = 100 * float(np.mean(~correct)), float(np.mean(correct))
    axes.plot(
        100 * coverage[shown],
        100 * risk[shown],
        color=BLUE,
        drawstyle="steps-post",
        label=plain(f"by {detector.name} score"),
    )
    axes.axhline(overall, color=GRAY, linestyle="--", linewidth=1, label="at random")
    ideal = np.linspace(max(share_correct, 1e-9), 1, 50)
    axes.plot(
        [0, *(100 * ideal)],
        [0, *(100 * (1 - share_correct / ideal))],
        color=GRAY,
        linestyle=":",
        label="errors first",
    )
    if accepted.any():
        axes.plot(
            100 * accepted.mean(),
            100 * np.mean(~correct[accepted]),
            "o",
            color=RED,
            label="detector's threshold",
        )
    axes.set(
        xlabel="accepted, % of test images", ylabel="errors, % of accepted images", xlim=(0, 102)
    )
    axes.set_title(plain(model.name))
    axes.set_ylim(bottom=0)
    axes.margins(y=0.25)
    axes.legend(fontsize=7, title="rejected", title_fontsize=7)
    return figure


def protection(name: str, summary: Summary) -> str:
    """Whether rejecting unlikely images protects the classifier."""
    area, span = summary.get("auroc_misclassified"), summary.get("auroc_misclassified_ci")
    of_accepted = share(summary.get("accuracy_accepted"), summary.get("accuracy_accepted_ci"))
    of_rejected = share(summary.get("accuracy_rejected"), summary.get("accuracy_rejected_ci"))
    if area is None or span is None:
        wrong = summary.get("misclassified", "an unknown number")
        return (
            f"{name} misclassifies {wrong} of {summary['n']} test images, so it is unknown whether"
            " rejection protects it."
        )
    return (
        f"{name} classifies {of_accepted} % of the accepted images correctly, {of_rejected} % of"
        f" the rejected and {percent(summary['accuracy'], summary['accuracy_ci'])} % of all. As a"
        " detector of misclassified images, the detector's score has an AUROC of"
        f" {estimate(area, span)}: rejecting unlikely images {_protects(*span)}."
    )


def _protects(low: float, high: float) -> str:
    """The conclusion that the AUROC's interval supports."""
    if low <= 0.5 <= high:
        return (
            "protects the classifier no better than rejecting images at random, within the interval"
        )
    if high < 0.5:
        return "makes it worse: misclassified images are more likely than others"
    if low > 0.9:
        return "protects the classifier: most misclassified images are among the least likely"
    return (
        "protects the classifier in part: misclassified images tend to be less likely, but many"
        " are not"
    )


def simple_table(models: Sequence[Audited]) -> Table:
    """Whether each model beats the best simple density."""
    return checks_of(
        models,
        AUDIT,
        "Is the model better than simple densities?",
        f"Simple densities: {SIMPLE}. Each is fitted to the same training images in seconds.",
        "simple-densities",
    )


def _with_paper(model: Audited) -> Summary:
    """The summary, with the paper's numbers for the same data set and objective."""
    summary, numbers = completed(model.record(AUDIT)), classification_of(model)
    if numbers is None:
        return summary
    accuracy, bits_per_dim = numbers
    return {**summary, "paper": {"accuracy_percent": accuracy, "bits_per_dim": bits_per_dim}}


def _paper(summary: Summary) -> str:
    numbers = summary.get("paper")
    if not numbers:
        return MISSING
    return f"{numbers['accuracy_percent']:.1f}, {numbers['bits_per_dim']:.2f}"


def _difference(summary: Summary) -> str:
    """Our accuracy in % and bits/dim minus the paper's."""
    numbers = summary.get("paper")
    if not numbers or summary["bits_per_dim"] is None:
        return MISSING
    accuracy = 100 * summary["accuracy"] - numbers["accuracy_percent"]
    return f"{accuracy:+.1f}, {summary['bits_per_dim'] - numbers['bits_per_dim']:+.2f}"


def _simple(summary: Summary) -> str:
    """The best simple density of the data set, if it was computed."""
    found = summary.get("simple_densities")
    if not found:
        return MISSING
    return f"{min(found.values()):.3f}"


def verdict(models: Sequence[Audited]) -> str:
    """Which models are under-trained, and warnings."""
    under = [model.name for model in models if is_under_trained(model)]
    sentence = ""
    if under:
        are, them = ("are", "them") if len(under) > 1 else ("is", "it")
        sentence = (
            f"Under-trained ({MARK}): {', '.join(under)} {are} no better than a simple density, so"
            f" conclusions about {them} are preliminary."
        )
    return f"{sentence}{first_warnings(models, AUDIT)}".strip()


def _subspace(summary: Summary) -> str:
    """The accuracy by z_s alone; only models with a class subspace have one."""
    if "subspace_accuracy" not in summary:
        return MISSING
    return percent(summary["subspace_accuracy"], summary["subspace_accuracy_ci"])


SECTION = Section(
    AUDIT,
    (
        Part(
            "Table 1: classification and likelihood",
            table=classification_table,
            words=lambda model: words(model.name, model.record(AUDIT).summary),
        ),
        Part("Is the model better than simple densities?", table=simple_table),
        Part(
            "Does rejecting unlikely images protect the classifier?",
            table=rejection_table,
            figure=risk_coverage,
            words=lambda model: protection(model.name, completed(model.record(AUDIT))),
        ),
    ),
    verdict,
    order=1,
)
