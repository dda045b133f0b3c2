"""Plots of text: size, limits and every kind of point."""

import pytest

from condgen.reports.terminal_plots import BULLET, plot

FALLING = [(float(step), 1 / step) for step in range(1, 101)]


def rows(line: list[tuple[float, float]], marks: list[tuple[float, float]]) -> list[str]:
    return plot("loss", line, marks, 40, 10).plain.split("\n")


@pytest.mark.parametrize(("width", "height"), [(30, 5), (38, 10), (60, 18), (12, 3)])
@pytest.mark.parametrize("line", [FALLING, FALLING[:1], []])
@pytest.mark.parametrize("marks", [FALLING[::7], [(50.0, -3e9)], []])
def test_a_plot_has_its_size(line: list, marks: list, width: int, height: int) -> None:
    drawn = plot("", line, marks, width, height).plain.split("\n")
    assert len(drawn) == height
    assert all(len(row) <= width for row in drawn[1:-1])


def test_a_line_goes_from_corner_to_corner() -> None:
    up = [row[9:] for row in rows([(1, 0.0), (2, 1.0)], [])[1:-1]]
    assert up[0].endswith("⠉") or up[0].rstrip()[-1] in "⡠⠔⠊⠁⠈⠉⠋⠞"
    assert len(up[0].rstrip()) == 31
    assert up[-1][0] != " "
    places = [row.index(row.strip()[0]) for row in up]
    assert places == sorted(places, reverse=True)  # each row begins to the left of the one above


def test_the_first_points_lie_outside_of_the_limits_and_are_drawn_at_the_edge() -> None:
    far = [(0.0, 1e6), *((float(step), 2.0 + step / 100) for step in range(1, 30))]
    drawn = rows([], far)
    assert drawn[1].startswith("   2.29 │•")
    assert "2.03 │" in drawn[-2]


def test_a_constant_is_a_level_line_and_validation_is_drawn_over_training() -> None:
    drawn = rows([(1, 2.0), (9, 2.0)], [(5, 2.0)])
    drawn_rows = [row for row in drawn[1:-1] if row[9:].strip()]
    assert len(drawn_rows) == 1
    assert drawn_rows[0].count(BULLET) == 1
    assert drawn_rows[0][9:].strip() == drawn_rows[0][9:]  # from edge to edge
    assert drawn[0] == "loss  train 2  • val 2"
    assert drawn[-1].split() == ["step", "1", "9"]


def test_large_numbers_have_short_labels() -> None:
    drawn = rows([(1, -123456.0), (2, 123456.0)], [])
    assert [row.split(" │")[0] for row in drawn[1:-1:7]] == ["  1e+05", " -1e+05"]
