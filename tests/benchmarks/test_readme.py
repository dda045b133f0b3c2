"""docs/performance.md agrees with the measurements."""

import json

import pytest

from benchmarks import readme


def test_the_page_agrees_with_the_measurements() -> None:
    text, (*others, last) = readme.PAGE.read_text(), readme.flows()
    assert readme.rewritten(text, readme.sections()) == text, "run `python -m benchmarks.readme`"
    assert readme.rewritten(text, {"flow.json": readme.speeds([*others, last])}) == text
    slower = {**last, "fraction_of_limit": {"float32": 0.001}}
    assert readme.rewritten(text, {"flow.json": readme.speeds([*others, slower])}) != text
    record = json.loads((readme.RESULTS / "attacks.json").read_text())
    assert (
        readme.rewritten(text, {"attacks.json": readme.attacks({**record, "queries": 1})}) != text
    )


def test_an_attack_that_fails_on_most_images_has_no_median() -> None:
    record = json.loads((readme.RESULTS / "attacks.json").read_text())
    cell = {
        "seconds": 1.0,
        "median_l2": None,
        "median_l2_stored": None,
        "success": 0.25,
        "success_after_rounding": 0.5,
    }
    assert "| one | 1.00 | – | 25% | 50%, – |" in readme.attacks(
        {**record, "attacks": {"cnn": {"one": cell}}}
    )


def test_a_page_without_a_place_for_the_table_is_refused() -> None:
    with pytest.raises(SystemExit, match="put them where the table belongs"):
        readme.rewritten("# condgen", {"flow.json": ""})
