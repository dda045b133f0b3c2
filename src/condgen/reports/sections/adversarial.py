"""Table 2: attacks on the classifier, and on classifier and detector."""

from collections.abc import Sequence

from condgen.reports.audited import Audited
from condgen.reports.detectors import threshold_columns
from condgen.reports.paper import attack_of
from condgen.reports.sections.attack_figures import attack_curves, attack_gallery
from condgen.reports.sections.attack_words import answer, verdict, words
from condgen.reports.sections.cells import checks_of, notes_on
from condgen.reports.sections.section import Part, Section
from condgen.reports.tables import MISSING, Summary, Table, percent, summaries_of

AUDIT = "adversarial"
PLAIN = ("undetected %", "(all)", "median L2")
AWARE = ("detector-aware: undetected %", "(any L2)", "quantized %", "median L2 ")


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
        " which an attack succeeds within L2 distance ε. Brackets: 95 % Wilson intervals; those of"
        " the other numbers are in table2.json. Left: attacks on the classifier alone, undetected;"
        " in parentheses, misclassified at any distance, detected or not. Right: detector-aware"
        " attacks, undetected within ε, at any distance, and within ε after quantization to the"
        f" data's levels. Medians are over all images; {MISSING} if fewer than half succeed. Worst"
        f" case: the best of all attacks on each image.{notes_on(summaries)}",
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
        percent(unaware["undetected_within"], unaware["undetected_within_ci"]),
        f"({100 * unaware['misclassified']:.0f})",
        _distance(unaware["median_l2"]),
        percent(aware["undetected_within"], aware["undetected_within_ci"]),
        f"({100 * aware['undetected']:.0f})",
        f"{100 * aware['quantized_within']:.0f}",
        _distance(aware["median_l2_undetected"]),
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
            "Attacks",
            table=attacks_table,
            figure=attack_curves,
            words=lambda model: words(model.name, model.record(AUDIT).summary),
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
