"""Table 1: accuracy and likelihood."""

from collections.abc import Sequence

from condgen.reports.audited import Audited
from condgen.reports.detectors import detector_of, threshold_columns
from condgen.reports.sections.section import Part, Section
from condgen.reports.tables import (
    MISSING,
    Summary,
    Table,
    model_table,
    number,
    percent,
    summaries_of,
)

AUDIT = "classification"


def classification_table(models: Sequence[Audited]) -> Table:
    """Table 1."""
    summaries = summaries_of(models, AUDIT)
    return model_table(
        "table1",
        "Table 1: classification and likelihood",
        "Brackets: 95 % intervals (Wilson for shares, normal for means). Bits/dim are those of"
        " log p(x), and given class those of log p(x|y), averaged over fresh draws of the noise. As"
        " deployed: log p(x) with the one fixed draw that the detector and all other tables use."
        " Accepted: by the detector.",
        summaries,
        {
            "accuracy %": lambda s: percent(s["accuracy"], s["accuracy_ci"]),
            "accuracy by z_s alone %": _subspace,
            "bits/dim": lambda s: number(s["bits_per_dim"], s["bits_per_dim_ci"]),
            "given class": lambda s: f"{s['bits_per_dim_given_class']:.3f}",
            "as deployed": lambda s: number(s["bits_per_dim_deployed"], s["bits_per_dim_deployed_ci"]),
            "accepted %": lambda s: percent(s["accepted"], s["accepted_ci"]),
            **threshold_columns(summaries.values()),
            "n": lambda s: str(s["n"]),
        },
    )


def words(name: str, summary: Summary) -> str:
    """A paragraph on Table 1."""
    detector = detector_of(summary)
    said = (
        f"{name} classifies {percent(summary['accuracy'], summary['accuracy_ci'])} % of"
        f" {summary['n']} test images correctly, at"
        f" {number(summary['bits_per_dim'], summary['bits_per_dim_ci'])} bits/dim. Its"
        f" {detector.name} detector (threshold {detector.words}) accepts"
        f" {percent(summary['accepted'], summary['accepted_ci'])} % of them."
    )
    if "subspace_accuracy" in summary:
        said += f" The class subspace z_s alone classifies {_subspace(summary)} % correctly."
    return said


def _subspace(summary: Summary) -> str:
    """Only a model with a class subspace has it."""
    if "subspace_accuracy" not in summary:
        return MISSING
    return percent(summary["subspace_accuracy"], summary["subspace_accuracy_ci"])


SECTION = Section(
    AUDIT,
    (
        Part(
            "Classification and likelihood",
            table=classification_table,
            words=lambda model: words(model.name, model.record(AUDIT).summary),
        ),
    ),
)
