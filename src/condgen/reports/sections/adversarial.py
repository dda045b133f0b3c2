"""Table 2: attacks on the classifier, and on classifier and detector."""

from collections.abc import Sequence

from condgen.reports.audited import Audited
from condgen.reports.detectors import threshold_columns
from condgen.reports.paper import attack_of
from condgen.reports.sections.attack_figures import attack_curves, attack_gallery, evasion
from condgen.reports.sections.attack_words import answer, verdict, words
from condgen.reports.sections.cells import checks_of, notes_on
from condgen.reports.sections.section import Part, Section
from condgen.reports.tables import MISSING, Summary, Table, percent, summaries_of

AUDIT = "adversarial"
PLAIN = ("undetected %", "(not quantized)", "(misclassified)")
AWARE = ("detector-aware: undetected %", "(not quantized) ", "(any L2)", "median L2")


def attacks_table(models: Sequence[Audited]) -> Table:
    """Table 2, a row for each attack on each model."""
    summaries = summaries_of(models, AUDIT)
    detector = threshold_columns(summaries.values())
    found = {
        (model.name, cell["attack"]): numbers
        for model in models
        for cell in summaries[model.name]["cells"]
        if (numbers := attack_of(model, cell["attack"]))
    }
    paper = ("paper: undetected %, detector-aware",) if found else ()
    rows = tuple(
        (
            model,
            unaware["attack"],
            f"{s['epsilon']:.3g}",
            *(cell(s) for cell in detector.values()),
            *_cells(unaware, aware),
            *(_paper(found.get((model, unaware["attack"]))) for _ in paper),
            str(s["n"]),
        )
        for model, s in summaries.items()
        for unaware, aware in _pairs(s)
    )
    return Table(
        "table2",
        "Table 2: attacks",
        "Share of the n test images (all correctly classified and accepted before the attack) on"
        " which an attack is undetected within L2 distance ε, after quantization to the data's"
        " levels: an image that can be stored. In parentheses: without quantization, as in the"
        " paper; misclassified at any distance, detected or not; and undetected at any distance,"
        " not quantized. Left: attacks on the classifier alone. Right: detector-aware attacks."
        " Brackets: 95 % Wilson intervals; those of the other numbers are in table2.json. Medians"
        f" are of quantized images, over all; {MISSING} if fewer than half succeed. Worst case: the"
        f" best of all attacks on each image.{notes_on(summaries)}",
        ("model", "attack", "ε", *detector, *PLAIN, *AWARE, *paper, "n"),
        rows,
        tuple(
            {"model": model, "epsilon": s["epsilon"], **cell}
            for model, s in summaries.items()
            for cell in s["cells"]
        ),
    )


def _paper(numbers: tuple[int, int] | None) -> str:
    """The paper's cells for attacks on the classifier and for detector-aware attacks."""
    return f"{numbers[0]}, {numbers[1]}" if numbers else MISSING


def _pairs(summary: Summary) -> list[tuple[Summary, Summary]]:
    """For each attack, its detector-unaware cell and its detector-aware cell."""
    aware = {cell["attack"]: cell for cell in summary["cells"] if cell["detector_aware"]}
    unaware = [cell for cell in summary["cells"] if not cell["detector_aware"]]
    return [(cell, aware[cell["attack"]]) for cell in unaware]


def _cells(unaware: Summary, aware: Summary) -> tuple[str, ...]:
    return (
        percent(unaware["quantized_within"], unaware["quantized_within_ci"]),
        f"({100 * unaware['undetected_within']:.0f})",
        f"({100 * unaware['misclassified']:.0f})",
        percent(aware["quantized_within"], aware["quantized_within_ci"]),
        f"({100 * aware['undetected_within']:.0f})",
        f"({100 * aware['undetected']:.0f})",
        _distance(aware.get("median_l2_quantized")),  # older records do not have it
    )


def _distance(median: float | None) -> str:
    return MISSING if median is None else f"{median:.2f}"


def checks_table(models: Sequence[Audited]) -> Table:
    """The checks of the evaluation."""
    return checks_of(
        models,
        AUDIT,
        "Is the evaluation reliable?",
        "Each check tests for one symptom of weak attacks, which would make a model look robust.",
    )


SECTION = Section(
    AUDIT,
    (
        Part(
            "Table 2: attacks",
            table=attacks_table,
            figure=attack_curves,
            words=lambda model: words(model.name, model.record(AUDIT).summary),
            overview=evasion,
            overview_words="Share of images on which some attack evades classifier and detector"
            " within a distance, of the first five models. Solid: the perturbed image has the"
            " levels of stored images.",
        ),
        Part("Is the evaluation of attacks reliable?", table=checks_table),
        Part(
            "Perturbed images",
            figure=attack_gallery,
            words=lambda model: f"The smallest successful change by each attack: {model.name}",
        ),
    ),
    verdict,
    answer,
    order=3,
)
