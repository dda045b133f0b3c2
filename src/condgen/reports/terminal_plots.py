"""Line plots in a terminal: Braille dots for training metrics, bullets for validation metrics."""

from collections.abc import Sequence
from itertools import groupby

from rich.text import Text

Points = Sequence[tuple[float, float]]  # (step, value), ordered by step

DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # rows and columns of a cell
BLANK, BULLET = 0x2800, "•"
LABEL = 8  # columns of the labels of the vertical axis
LINE_STYLE, MARK_STYLE = "cyan", "yellow"
START = 10  # the first one in so many points may lie above or below the plot


def plot(title: str, line: Points, marks: Points, width: int, height: int) -> Text:
    """Draw ``line`` as a line and ``marks`` as bullets in ``width`` x ``height`` characters.

    The axis fits all but the first tenth of the points, which often lies far away.

    Examples:
        >>> print(plot("loss", [(1, 2.0), (4, 1.0)], [(4, 1.5)], width=30, height=5))
        loss  train 1  • val 1.5
              2 │⠉⠒⠒⠤⠤⣀⣀
                │       ⠉⠑⠒⠢⠤⢄⣀      •
              1 │              ⠉⠉⠒⠒⠤⠤⣀
                step 1               4
    """
    columns, rows = max(1, width - LABEL - 1), max(1, height - 2)
    low, high = _range([value for points in (line, marks) for _, value in _late(points)])
    first, last = _range([step for points in (line, marks) for step, _ in points])

    def place(point: tuple[float, float]) -> tuple[int, int]:
        """The dot of a point: column from the left, row from the top."""
        right = (point[0] - first) / (last - first)
        down = min(1.0, max(0.0, (high - point[1]) / (high - low)))
        return round(right * (2 * columns - 1)), round(down * (4 * rows - 1))

    cells = _connected([place(point) for point in line], columns, rows)
    bullets = {(y // 4, x // 2) for x, y in map(place, marks)}
    text = _heading(title, line, marks)
    for row, cell_row in enumerate(cells):
        label = _label(high) if row == 0 else _label(low) if row == rows - 1 else ""
        text.append(f"{label:>{LABEL - 1}} │", "dim")
        found = [
            BULLET if (row, place) in bullets else chr(BLANK + cell) if cell else " "
            for place, cell in enumerate(cell_row)
        ]
        for is_bullet, group in groupby(found, BULLET.__eq__):
            text.append("".join(group), MARK_STYLE if is_bullet else LINE_STYLE)
        text.append("\n")
    start, end = f"step {first:.0f}", f"{last:.0f}"
    return text.append(f"{'':{LABEL}}{start}{end:>{max(1, columns + 1 - len(start))}}", "dim")


def _connected(dots: Sequence[tuple[int, int]], columns: int, rows: int) -> list[list[int]]:
    """The Braille dots of each cell, for a line through ``dots``."""
    cells = [[0] * columns for _ in range(rows)]
    for (x, y), (to_x, to_y) in zip(dots, dots[1:] or dots, strict=False):
        length = max(1, abs(to_x - x), abs(to_y - y))
        for part in range(length + 1):
            column = x + round((to_x - x) * part / length)
            row = y + round((to_y - y) * part / length)
            cells[row // 4][column // 2] |= DOTS[row % 4][column % 2]
    return cells


def _label(value: float) -> str:
    return label if len(label := f"{value:.4g}") < LABEL else f"{value:.0e}"


def _heading(title: str, line: Points, marks: Points) -> Text:
    """The title, and the last values."""
    text = Text(no_wrap=True, overflow="crop").append(title, "bold")
    if line:
        name = "train " if marks else ""
        text.append(f"  {name}{line[-1][1]:.4g}", LINE_STYLE)
    if marks:
        text.append(f"  {BULLET} val {marks[-1][1]:.4g}", MARK_STYLE)
    return text.append("\n")


def _late(points: Points) -> Points:
    return points[len(points) // START :]


def _range(values: Sequence[float]) -> tuple[float, float]:
    """The smallest and the greatest value; never equal."""
    low, high = min(values, default=0.0), max(values, default=0.0)
    margin = (abs(low) or 1.0) * 0.01 if low == high else 0.0
    return low - margin, high + margin
