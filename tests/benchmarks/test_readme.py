"""The README says what was measured, and nothing else."""

import pytest

from benchmarks import readme


def test_the_readme_agrees_with_the_measurements() -> None:
    records = readme.measured()
    text = readme.README.read_text()
    assert readme.rewritten(text, records) == text, "run `python -m benchmarks.readme`"
    slower = {**records[-1], "fraction_of_limit": {"float32": 0.001}}
    assert readme.rewritten(text, [*records[:-1], slower]) != text


def test_a_readme_without_a_place_for_the_table_is_refused() -> None:
    with pytest.raises(SystemExit, match="put them where the table belongs"):
        readme.rewritten("# condgen", [])
