"""The paper's tables from saved records."""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from condgen.audits.checks import FAIL, Check
from condgen.files import written_whole
from condgen.reports.audited import Audited

Summary = Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """Text cells for eyes, and the numbers behind them for programs."""

    name: str
    title: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: tuple[dict[str, Any], ...]

    @property
    def of_words(self) -> tuple[bool, ...]:
        """Which columns hold words, that stand to the left, and not numbers."""
        return tuple(any(row[number][:1].isalpha() for row in self.rows) for number in range(len(self.columns)))

    def save(self, directory: Path) -> None:
        """Write ``<name>.csv`` (cells as shown) and ``<name>.json`` (numbers)."""
        with written_whole(directory / f"{self.name}.csv") as path, path.open("w", newline="") as file:
            csv.writer(file).writerows([self.columns, *self.rows])
        with written_whole(directory / f"{self.name}.json") as path:
            path.write_text(json.dumps(self.numbers, indent=1) + "\n")


def classification_table(models: Sequence[Audited]) -> Table:
    """Table 1."""
    return _table(
        models,
        "classification",
        "table1",
        "Table 1: classification and likelihood",
        "Brackets: 95 % intervals (Wilson for shares, normal for means). Bits/dim of log p(x), and given class those of"
        " log p(x|y), are averaged over fresh draws of the noise; as deployed they are those of log p(x) with the one fixed"
        " draw that the detector and all other tables use.",
        {
            "accuracy %": lambda s: percent(s["accuracy"], s["accuracy_ci"]),
            "by z_s alone %": _subspace,
            "bits/dim": lambda s: number(s["bits_per_dim"], s["bits_per_dim_ci"]),
            "given class": lambda s: f"{s['bits_per_dim_given_class']:.3f}",
            "as deployed": lambda s: number(s["bits_per_dim_deployed"], s["bits_per_dim_deployed_ci"]),
            "accepted %": lambda s: percent(s["accepted"], s["accepted_ci"]),
            "threshold": lambda s: f"{s['threshold']:.2f}",
            "n": lambda s: str(s["n"]),
        },
    )


def _subspace(summary: dict[str, Any]) -> str:
    """Only a model with a class subspace has it."""
    if "subspace_accuracy" not in summary:
        return "–"
    return percent(summary["subspace_accuracy"], summary["subspace_accuracy_ci"])


def membership_table(models: Sequence[Audited]) -> Table:
    """The numbers of Fig. 3."""
    return _table(
        models,
        "membership",
        "membership",
        "Label membership (numbers of Fig. 3)",
        "Bits/dim under the right and the likeliest wrong class; the mean gap and the standard deviation under the right class"
        " in nats. AUROC of bits/dim with the wrong label as the positive; 0.5 cannot tell.",
        {
            "right class": lambda s: f"{s['bits_per_dim_right']:.3f}",
            "wrong class": lambda s: f"{s['bits_per_dim_wrong']:.3f}",
            "gap, nats": lambda s: f"{s['gap_nats']:.1f}",
            "spread, nats": lambda s: f"{s['spread_nats']:.1f}",
            "AUROC": lambda s: number(s["auroc"], s["auroc_ci"]),
            "n": lambda s: str(s["n"]),
        },
    )


def interpolation_table(models: Sequence[Audited]) -> Table:
    """The numbers of Fig. 4."""
    return _table(
        models,
        "interpolation",
        "interpolation",
        "Interpolations (numbers of Fig. 4)",
        "Mean bits/dim at the two ends and in the middle; share of pairs of which every step stays accepted. Brackets: 95 %"
        " intervals that count that pairs share images.",
        {
            "ends": lambda s: f"{s['bits_per_dim_ends']:.2f}",
            "middle": lambda s: f"{s['bits_per_dim_middle']:.2f}",
            "middle - ends": lambda s: number(s["middle_minus_ends"], s["middle_minus_ends_ci"]),
            "accepted all along %": lambda s: percent(s["accepted_all_along"], s["accepted_all_along_ci"]),
            "threshold": lambda s: f"{s['threshold']:.2f}",
            "pairs": lambda s: str(s["pairs"]),
        },
    )


def attacks_table(summaries: Mapping[str, Summary]) -> Table:
    """Table 2, a row for each attack on each model."""
    plain = ("ε", "T", "unnoticed %", "(fooled)", "median L2")
    aware = ("knows detector: unnoticed %", "(any distance)", "stored %", "median L2 ")
    rows = [(model, *_attack_row(summary, pair)) for model, summary in summaries.items() for pair in _pairs(summary)]
    return Table(
        "table2",
        "Table 2: attacks",
        "Of the n test images that are correct and accepted, the share that falls within L2 distance ε of a detector that"
        " accepts up to T bits/dim; in brackets 95 % Wilson"
        " intervals, those of the other numbers are in table2.json. Left: attacks on the classifier alone: unnoticed by the"
        " detector, and in parentheses all that fool at any distance. Right: attacks on classifier and detector: unnoticed"
        " within ε, at any distance, and within ε after pixels are rounded to the data's levels. Medians are over all images,"
        " – where fewer than half fall. Worst case: the best of all attacks on each image.",
        ("model", "attack", *plain, *aware, "n"),
        tuple(rows),
        tuple({"model": model, "epsilon": s["epsilon"], **cell} for model, s in summaries.items() for cell in s["cells"]),
    )


def _pairs(summary: Summary) -> list[tuple[Summary, Summary]]:
    """For each attack its cell on the classifier and its cell on classifier and detector."""
    aware = {cell["attack"]: cell for cell in summary["cells"] if cell["knows_detector"]}
    return [(cell, aware[cell["attack"]]) for cell in summary["cells"] if not cell["knows_detector"]]


def _attack_row(summary: Summary, pair: tuple[Summary, Summary]) -> tuple[str, ...]:
    plain, aware = pair
    return (
        plain["attack"],
        f"{summary['epsilon']:.3g}",
        f"{summary['threshold']:.2f}",
        percent(plain["unnoticed_within"], plain["unnoticed_within_ci"]),
        f"({100 * plain['fooled']:.0f})",
        _distance(plain["median_l2"]),
        percent(aware["unnoticed_within"], aware["unnoticed_within_ci"]),
        f"({100 * aware['unnoticed']:.0f})",
        f"{100 * aware['stored_within']:.0f}",
        _distance(aware["median_l2_unnoticed"]),
        str(summary["n"]),
    )


def _distance(median: float | None) -> str:
    return "–" if median is None else f"{median:.2f}"


def checks_table(summaries: Mapping[str, Summary]) -> Table:
    """What the evaluation found when it examined itself."""
    checks = [(model, Check(**check)) for model, summary in summaries.items() for check in summary["checks"]]
    return Table(
        "checks",
        "Does the evaluation deserve belief?",
        "Each line is one symptom of attacks that fail instead of models that resist.",
        ("model", "check", "", "found", "what to do"),
        tuple((model, c.name, c.outcome, c.found, c.advice if c.outcome == FAIL else "") for model, c in checks),
        tuple({"model": model, "outcome": check.outcome, **asdict(check)} for model, check in checks),
    )


def _table(
    models: Sequence[Audited],
    audit: str,
    name: str,
    title: str,
    caption: str,
    columns: dict[str, Callable[[dict[str, Any]], str]],
) -> Table:
    """A row for each run, a cell for each column from the audit's summary."""
    summaries = {model.name: model.record(audit).summary for model in models}
    rows = tuple((model, *(cell(summary) for cell in columns.values())) for model, summary in summaries.items())
    numbers = tuple({"model": model, **summary} for model, summary in summaries.items())
    return Table(name, title, caption, ("model", *columns), rows, numbers)


def percent(value: float, interval: Sequence[float]) -> str:
    """A share with its interval, in percent."""
    return f"{100 * value:.1f} [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"


def number(value: float, interval: Sequence[float]) -> str:
    """A mean with its interval."""
    return f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"
