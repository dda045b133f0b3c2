"""The README says what was measured, and nothing else."""

import json

import pytest

from benchmarks import readme
from benchmarks.evidence import RESULTS


def test_the_readme_agrees_with_the_measurements() -> None:
    results = json.loads((RESULTS / "flow.json").read_text())
    text = readme.README.read_text()
    assert readme.rewritten(text, results) == text, "run `python -m benchmarks.readme`"
    slower = {**results, "fraction_of_limit": {"bfloat16": 0.001}}
    assert readme.rewritten(text, slower) != text


def test_a_readme_without_a_place_for_the_table_is_refused() -> None:
    with pytest.raises(SystemExit, match="put them where the table belongs"):
        readme.rewritten("# condgen", {})
