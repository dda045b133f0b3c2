"""The style that all figures share."""

from typing import Any

from condgen.reports.audited import Audited

BLUE, ORANGE, GRAY, RED = "#0b6aa8", "#d9750b", "#6b6b6b", "#b3261e"
CYCLE = (BLUE, ORANGE, "#2a7f4f", "#8a4fa3", RED)
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "condgen",
}


def plain(text: str) -> str:
    """Escape text for a figure, where a dollar sign would start a formula."""
    return text.replace("$", r"\$")


def class_name(model: Audited, label: int) -> str:
    """The name of a class as text for a figure."""
    return plain(model.class_name(label))


def draw_threshold(axes: Any, threshold: float, label: str) -> None:
    """Draw a dashed horizontal line."""
    axes.axhline(threshold, color=RED, linestyle="--", linewidth=1, label=label)
