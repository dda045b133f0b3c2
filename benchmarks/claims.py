"""Writes ``docs/claims.md``: each claim of the paper with its verdict and the records behind it."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from condgen.files import atomic_write
from condgen.reports.verdicts import claims_table
from condgen.runs import RecordFolder, open_folder

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "claims.md"
FOLDERS = ("small", "table4")  # of results/, with records of whole models
STUDIES = {"negative-digits": "digits", "negative-mnist-small": "MNIST"}  # of appendix C
OPENING = """# The claims of the paper

Written by `python -m benchmarks.claims` from the records in [results/](../results/README.md).

A test supports a claim if, for each model, the whole 95 % interval is on the claim's side of the
bound, and contradicts it if, for each model, it is on the other side. The bounds are ours.
Successes of attacks are those of quantized images, with 1,000 queries for decision-based attacks.
They are lower bounds, with intervals up to 100 %, if a check for weak attacks failed. Models are
small: a claim that fails here may hold for the paper's models. A model marked with † does not beat
the simple densities, and does not count.
"""


def published() -> list[RecordFolder]:
    """All models with records in ``results/``."""
    pages = (page for name in FOLDERS for page in (ROOT / "results" / name).glob("*/config.toml"))
    return [open_folder(page.parent) for page in sorted(pages)]


def claims_of(models: Sequence[RecordFolder]) -> str:
    """A table of the claims, with a link for each model."""
    at = {model.name: model.path.relative_to(ROOT) for model in models}
    lines = ["| | the paper | test | found | verdict |", "|---|---|---|---|---|"]
    for row in claims_table(models).rows:
        section, sentence, test, found, verdict = map(plain, row)
        for name in sorted(at, key=len, reverse=True):
            link = f"[{name}](../{at[name]})"
            found = re.sub(rf"(?<![\w\[/-]){re.escape(name)}(?=:| minus )", link, found)
        lines.append(f"| {section} | {sentence} | {test} | {found} | **{verdict}** |")
    return "\n".join(lines)


def negative_results() -> str:
    """What the studies of appendix C found, row by row."""
    lines = []
    for name, data in STUDIES.items():
        tables = sorted((ROOT / "results" / name / "tables").glob("difference-*.json"))
        for table in tables:
            lines += [
                f"| {data} | {plain(row['difference'])} | {plain(number(row, 'accuracy %', 100))} |"
                f" {plain(number(row, 'bits/dim', 1))} | {row['seeds']} | {row['verdict']} |"
                for row in json.loads(table.read_text())
            ]
    if not lines:
        return ""
    head = ["| | difference | accuracy, points | bits/dim | seeds | verdict |"]
    return "\n".join([*head, "|---|---|---|---|---|---|", *lines])


def number(row: dict[str, Any], head: str, factor: float) -> str:
    """A difference with its interval."""
    if row.get(head) is None:
        return "–"
    digits = 1 if factor > 1 else 3
    words = f"{factor * row[head]:+.{digits}f}"
    if row.get(f"{head}_ci") is None:
        return words
    low, high = (f"{factor * end:+.{digits}f}" for end in row[f"{head}_ci"])
    return f"{words} [{low}, {high}]"


def plain(cell: str) -> str:
    """A cell without characters that end it."""
    return cell.replace("|", "\\|")


APPENDIX_C = """
## Appendix C: what did not help

The paper on robust priors (C.1): "In our experiments we did not see any significant difference from
the Gaussian prior". On Flow-GAN (C.3): "very hard to train". Differences are paired by seed, with
Student's 95 % interval. "No difference": accuracy within 1 point, bits/dim within 0.05 and the
AUROC of wrong labels within 0.01. "Differs": an interval is beyond its margin.
"""


def page() -> str:
    """The text of the page."""
    text, negative = f"{OPENING}\n{claims_of(published())}\n", negative_results()
    return text + (f"{APPENDIX_C}\n{negative}\n" if negative else "")


def main() -> None:
    with atomic_write(PAGE) as work:
        work.write_text(page())


if __name__ == "__main__":
    main()
