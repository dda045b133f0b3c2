"""General attacks find the mistakes of the counterexample, and no more than exist."""

import pytest

from condgen.audits.counterexample_attacks import Found, find_mistakes
from condgen.errors import CondgenError
from condgen.theory import counterexample

REAL = counterexample(0.1, 0.01, 0.5)


@pytest.fixture(scope="module")
def found() -> dict[str, Found]:
    return {line.attack: line for line in find_mistakes(REAL, images=24, seed=1)}


def test_each_attack_finds_some_and_carlini_wagner_nearly_all(found: dict[str, Found]) -> None:
    assert found["CarliniWagner"].share > 1 / 3
    assert found["CarliniWagner"].share_of_attackable > 0.9
    assert found["HopSkipJump"].share_of_attackable > 0.5
    assert found["Boundary"].share > 0
    assert all(line.distance < 0.6 for line in found.values())


def test_no_attack_finds_more_than_the_construction(found: dict[str, Found]) -> None:
    assert all(line.share <= found["the construction"].share for line in found.values())
    low, high = found["the construction"].interval
    assert low <= REAL.attackable <= high


def test_no_images_are_refused() -> None:
    with pytest.raises(CondgenError, match="0 images cannot be attacked"):
        find_mistakes(REAL, images=0)
