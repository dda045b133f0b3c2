"""`condgen theory`: numbers, lines, samples, figures and invalid values."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_commands import condgen, image_size, refused

ASKED = ("theory", "--epsilon", 0.1, "--delta", 0.01, "--radius", 0.5)


def test_json_holds_every_number_and_seven_conditions() -> None:
    status, text, _ = condgen(*ASKED, "--json")
    values = json.loads(text)
    assert status == 0
    assert values["dimension"] == values["smallest_dimension"] == 35
    assert (
        math.exp(values["log_lambda_1_range"][0])
        < values["lambda_1"]
        < math.exp(values["log_lambda_1_range"][1])
    )
    assert values["lambda_2"] == pytest.approx(values["lambda_1"] / 99)
    assert [line["number"] for line in values["conditions"]] == [1, 2, 3, 4, 5, 6, 7]
    assert [line["holds"] for line in values["conditions"]] == [True] * 6 + [False]
    assert all(
        {"words", "unit", "value", "relation", "bound", "note"} <= line.keys()
        for line in values["conditions"]
    )


def test_the_table_says_what_holds() -> None:
    status, text, _ = condgen(*ASKED)
    assert status == 0
    assert text.count(" holds  ") == 6
    assert text.count("does not hold") == 1
    assert "0.496556" in text


def test_samples_stand_beside_the_closed_forms() -> None:
    _, text, _ = condgen(*ASKED, "--samples", 2000)
    assert "samples of p attacked" in text
    assert "no samples" in text or "inside" in text
    _, text, _ = condgen(*ASKED, "--samples", 2000, "--seed", 1, "--json")
    lines = json.loads(text)["monte_carlo"]
    assert len(lines) == 10
    assert all(
        line["interval"] is None or line["interval"][0] <= line["estimate"] <= line["interval"][1]
        for line in lines
    )


def test_figures_are_written(tmp_path: Path) -> None:
    assert condgen(*ASKED, "--figures", tmp_path / "figures")[0] == 0
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert names == {
        f"{name}.{kind}"
        for name in ("figure-2", "radial-picture", "growth")
        for kind in ("png", "svg")
    }
    assert min(image_size(tmp_path / "figures" / "figure-2.png")) > 800


def test_numbers_do_not_wait_for_torch() -> None:
    arguments = [str(part) for part in ASKED]
    code = (
        f"import sys; from condgen.cli import main; main({arguments}, standalone_mode=False);"
        "sys.exit('torch' in sys.modules)"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=False
        ).returncode
        == 0
    )


BAD_CALLS = {
    "radius of one": ((0.1, 0.01, 1), "radius is 1, expected a number between 0 and 1"),
    "negative epsilon": ((-0.1, 0.01, 0.5), "epsilon is -0.1, expected a positive number"),
    "delta of a half": ((0.1, 0.5, 0.5), "delta is 0.5, expected a number between 0 and 0.5"),
    "not a number": (("nan", 0.01, 0.5), "epsilon is nan"),
    "dimension too small": ((0.1, 0.01, 0.5, "--dimension", 20), "give 35 or more"),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_bad_values_end_in_one_line(name: str) -> None:
    (epsilon, delta, radius, *more), message = BAD_CALLS[name]
    assert message in refused(
        "theory", "--epsilon", epsilon, "--delta", delta, "--radius", radius, *more
    )


def test_attacks_are_reported() -> None:
    _, text, _ = condgen(*ASKED, "--attacks", 3, "--json")
    lines = json.loads(text)["attacks"]
    assert [line["attack"] for line in lines] == [
        "the construction",
        "CarliniWagner",
        "HopSkipJump",
        "Boundary",
    ]
    assert all(0 <= line["share"] <= 1 for line in lines)
