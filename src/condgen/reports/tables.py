"""The paper's tables from saved records."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from condgen.files import written_whole
from condgen.runs import Run


@dataclass(frozen=True)
class Table:
    """Text cells for eyes, and the numbers behind them for programs."""

    name: str
    title: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: tuple[dict[str, Any], ...]

    def save(self, directory: Path) -> None:
        """Write ``<name>.csv`` (cells as shown) and ``<name>.json`` (numbers)."""
        with written_whole(directory / f"{self.name}.csv") as path, path.open("w", newline="") as file:
            csv.writer(file).writerows([self.columns, *self.rows])
        with written_whole(directory / f"{self.name}.json") as path:
            path.write_text(json.dumps(self.numbers, indent=1) + "\n")


def classification_table(runs: Sequence[Run]) -> Table:
    """Table 1."""
    numbers, rows = [], []
    for run in runs:
        summary = run.record("classification").summary
        numbers.append({"model": run.name, "data": run.config.data.name, **summary})
        rows.append(
            (
                run.name,
                percent(summary["accuracy"], summary["accuracy_ci"]),
                percent(summary["subspace_accuracy"], summary["subspace_accuracy_ci"])
                if "subspace_accuracy" in summary
                else "–",
                number(summary["bits_per_dim"], summary["bits_per_dim_ci"]),
                f"{summary['bits_per_dim_given_class']:.3f}",
                percent(summary["accepted"], summary["accepted_ci"]),
                f"{summary['threshold']:.2f}",
                str(summary["n"]),
            )
        )
    return Table(
        "table1",
        "Table 1: classification and likelihood",
        "Brackets: 95 % intervals (Wilson for shares, normal for means). Bits/dim: of log p(x), then of log p(x|y).",
        ("model", "accuracy %", "by z_s alone %", "bits/dim", "given class", "accepted %", "threshold", "n"),
        tuple(rows),
        tuple(numbers),
    )


def membership_table(runs: Sequence[Run]) -> Table:
    """The numbers of Fig. 3."""
    numbers, rows = [], []
    for run in runs:
        summary = run.record("membership").summary
        numbers.append({"model": run.name, **summary})
        rows.append(
            (
                run.name,
                f"{summary['bits_per_dim_right']:.3f}",
                f"{summary['bits_per_dim_wrong']:.3f}",
                f"{summary['gap_nats']:.1f}",
                f"{summary['spread_nats']:.1f}",
                number(summary["auroc"], summary["auroc_ci"]),
                str(summary["n"]),
            )
        )
    return Table(
        "membership",
        "Label membership (numbers of Fig. 3)",
        "Bits/dim under the right and the likeliest wrong class; the mean gap and the standard deviation under the right class"
        " in nats. AUROC of bits/dim with the wrong label as the positive; 0.5 cannot tell.",
        ("model", "right class", "wrong class", "gap, nats", "spread, nats", "AUROC", "n"),
        tuple(rows),
        tuple(numbers),
    )


def interpolation_table(runs: Sequence[Run]) -> Table:
    """The numbers of Fig. 4."""
    numbers, rows = [], []
    for run in runs:
        summary = run.record("interpolation").summary
        numbers.append({"model": run.name, **summary})
        rows.append(
            (
                run.name,
                f"{summary['bits_per_dim_ends']:.2f}",
                f"{summary['bits_per_dim_middle']:.2f}",
                number(summary["middle_minus_ends"], summary["middle_minus_ends_ci"]),
                percent(summary["accepted_all_along"], summary["accepted_all_along_ci"]),
                f"{summary['threshold']:.2f}",
                str(summary["pairs"]),
            )
        )
    return Table(
        "interpolation",
        "Interpolations (numbers of Fig. 4)",
        "Mean bits/dim at the two ends and in the middle; share of pairs of which every step stays accepted. Brackets: 95 %"
        " bootstrap intervals over images, since pairs share images.",
        ("model", "ends", "middle", "middle - ends", "accepted all along %", "threshold", "pairs"),
        tuple(rows),
        tuple(numbers),
    )


def percent(value: float, interval: Sequence[float]) -> str:
    """A share with its interval, in percent."""
    return f"{100 * value:.1f} [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"


def number(value: float, interval: Sequence[float]) -> str:
    """A mean with its interval."""
    return f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"
