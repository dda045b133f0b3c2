"""The counterexample of Section 2 as a section of the page."""

from collections.abc import Iterator

from condgen.reports import theory, theory_figures
from condgen.reports.layout import PageSection, Panel
from condgen.reports.tables import Table
from condgen.theory import Counterexample, conditions, counterexample


def counterexample_section() -> PageSection:
    """The section for the values of the paper's example."""
    example = counterexample(epsilon=0.1, delta=0.01, radius=0.5)
    table = Table(
        "theory",
        "Proposition 1",
        " ".join(theory.notes(example)),
        theory.CONDITION_COLUMNS,
        tuple(theory.condition_rows(example)),
        tuple(line.summary() for line in conditions(example)),
    )
    return PageSection(
        "Fig. 2: a good likelihood guarantees nothing", table, list(_panels(example))
    )


def _panels(example: Counterexample) -> Iterator[Panel]:
    yield (
        "figure-2",
        f"Fig. 2, on a plane through the origin. {theory.words(example)}",
        theory_figures.figure_2(example),
    )
    yield (
        "radial-picture",
        "The same along the radius. Top: nearly all samples of class 0 lie near the outer edge."
        " Bottom: an attack moves an image to where the model's density is higher.",
        theory_figures.radial_picture(example),
    )
    yield (
        "growth",
        "The dimension that the counterexample needs grows with the logarithm of 1/ε and 1/δ, and"
        " as 1/Δ.",
        theory_figures.growth(example),
    )
