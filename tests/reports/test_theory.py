"""The counterexample in the report: section, figures at any dimension, sentences."""

import json
from pathlib import Path

import pytest

from condgen.reports import theory, theory_figures, write_report
from condgen.theory import Counterexample, counterexample

EXAMPLES = [
    counterexample(1, 0.47, 0.99),
    counterexample(0.1, 0.01, 0.5),
    counterexample(0.1, 0.01, 0.5, 10**6),
]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"d={example.dimension}")
@pytest.mark.parametrize(
    "draw", [theory_figures.figure_2, theory_figures.radial_picture], ids=lambda draw: draw.__name__
)
def test_the_pictures_can_be_drawn_in_any_dimension(
    draw, example: Counterexample, tmp_path: Path
) -> None:
    draw(example).savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000


def test_the_growth_reaches_beyond_a_million_dimensions() -> None:
    panels = theory_figures.growth(EXAMPLES[1]).axes
    assert all(line.get_ydata().max() > 1e6 for line in panels[2].lines[:-1])
    assert panels[0].lines[0].get_ydata()[0] < 100


def test_the_radial_picture_shows_the_attack_climbing() -> None:
    _, density = theory_figures.radial_picture(EXAMPLES[1]).axes
    (arrow,) = [text for text in density.texts if text.arrow_patch is not None]
    (end, after), (start, before) = arrow.xy, arrow.xyann
    assert 0 < start - end < 0.5
    assert end < 1 < start
    assert after > before


def test_the_words_carry_the_numbers_and_the_exception() -> None:
    said = theory.words(EXAMPLES[1])
    assert "In 35 dimensions" in said
    assert "49.7 % of the samples" in said
    assert "Condition 7 does not hold as stated in the paper; see note 7." in said
    assert len(theory.notes(EXAMPLES[1])) == 7


def test_the_page_has_a_section_on_it_where_it_is_asked_for(folder, tmp_path: Path) -> None:
    run = folder("samples")
    assert "Proposition 1" not in write_report([run], tmp_path).read_text()
    assert not (tmp_path / "figures" / "figure-2.svg").exists()
    text = write_report([run], tmp_path, counterexample=True).read_text()
    assert "a good likelihood guarantees nothing" in text
    assert "does not hold" in text
    assert all(
        (tmp_path / "figures" / f"{name}.svg").exists()
        for name in ("figure-2", "radial-picture", "growth")
    )
    assert [
        line["number"] for line in json.loads((tmp_path / "tables" / "theory.json").read_text())
    ] == list(range(1, 8))
