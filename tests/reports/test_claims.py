"""The claims of the paper: what counts as support, and what follows from the records."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from condgen import Run, load_preset, write_report
from condgen.audits.checks import UNDER_TRAINED, WEAK
from condgen.audits.records import Record
from condgen.reports import claims
from condgen.reports.claims import CLAIMS
from condgen.reports.evidence import difference
from condgen.reports.verdicts import (
    AGAINST,
    OPEN,
    SUPPORTED,
    UNTESTED,
    claims_table,
    stronger_than_the_paper,
)


@dataclass(frozen=True)
class Noted(Run):
    """A run whose records are given, without files."""

    summaries: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.path.name

    def audits_made(self) -> list[str]:
        return list(self.summaries)

    def has(self, audit: str) -> bool:
        return audit in self.summaries

    def record(self, audit: str) -> Record:
        return Record(audit, dict(self.summaries[audit]), {})


def noted(
    preset: str,
    *overrides: str,
    name: str = "",
    beats: bool | None = True,
    **summaries: Mapping[str, Any],
) -> Noted:
    """A run with these records; ``beats``: outcome of the check against simple densities."""
    check = {"name": "", "passed": beats, "found": "", "advice": "", "doubt": UNDER_TRAINED}
    checks = {} if beats is None else {"checks": [check]}
    audits = {audit.replace("_", "-"): {**found, **checks} for audit, found in summaries.items()}
    return Noted(Path(name or preset), load_preset(preset, overrides), audits)


def paths(middle: float, accepted: float, half: float = 0.01) -> dict[str, Any]:
    """The numbers of an interpolation record."""
    return {
        "middle_minus_ends": middle,
        "middle_minus_ends_ci": [middle - half, middle + half],
        "accepted_at_every_step": accepted,
        "accepted_at_every_step_ci": [accepted - half, accepted + half],
    }


def table_1(accuracy: float, bits: float) -> dict[str, Any]:
    """The numbers of a classification record."""
    return {
        "accuracy": accuracy,
        "accuracy_ci": [accuracy - 0.01, accuracy + 0.01],
        "bits_per_dim": bits,
        "bits_per_dim_ci": [bits - 0.01, bits + 0.01],
    }


def verdicts(*models: Noted) -> dict[str, str]:
    """The verdict on each claim, by the first words of its sentence."""
    return {str(row["sentence"]): str(row["verdict"]) for row in claims_table(models).numbers}


def on(sentence: str, *models: Noted) -> str:
    (found,) = {verdict for words, verdict in verdicts(*models).items() if sentence in words}
    return found


def test_without_models_only_the_theorem_is_decided() -> None:
    found = verdicts()
    assert len(found) == len(CLAIMS) > 15
    assert list(found.values()) == [SUPPORTED, *[UNTESTED] * (len(CLAIMS) - 1)]


@pytest.mark.parametrize(
    ("middle", "half", "expected"),
    [(-0.1, 0.01, SUPPORTED), (0.1, 0.01, AGAINST), (0.0, 0.01, OPEN)],
)
def test_a_whole_interval_decides(middle: float, half: float, expected: str) -> None:
    model = noted("cifar10-reweight-small", interpolation=paths(middle, 1.0, half))
    assert on("not drop down", model) == expected


def test_a_claim_needs_all_its_tests() -> None:
    for middle, accepted, expected in ((-0.1, 1.0, SUPPORTED), (0.1, 1.0, AGAINST)):
        model = noted("bg-mnist-0-reweight-small", interpolation=paths(middle, accepted))
        assert on("identical to our CIFAR10", model) == expected
    pixels = noted(
        "cifar10-pixelcnn-small", "objective.name=reweight", interpolation=paths(-0.1, 1.0)
    )
    assert on("PixelCNN++ autoregressive", pixels) == OPEN  # no record of labels


def test_seeds_that_disagree_decide_nothing() -> None:
    models = [
        noted("cifar10-reweight-small", name="one", interpolation=paths(-0.1, 1.0)),
        noted("cifar10-reweight-small", name="two", interpolation=paths(0.1, 1.0)),
    ]
    assert on("not drop down", *models) == OPEN


@pytest.mark.parametrize(("beats", "expected"), [(True, AGAINST), (False, OPEN), (None, OPEN)])
def test_only_models_that_beat_simple_densities_count(beats: bool | None, expected: str) -> None:
    model = noted("cifar10-reweight-small", beats=beats, interpolation=paths(0.1, 1.0))
    assert on("not drop down", model) == expected
    if not beats:
        good = noted("cifar10-reweight-small", name="good", interpolation=paths(-0.1, 1.0))
        assert on("not drop down", model, good) == SUPPORTED


def test_pairs_have_equal_seeds_and_alpha_0_is_likelihood_alone() -> None:
    alone = noted(
        "cifar10-pixelcnn-small",
        *("objective.name=reweight", "objective.alpha=0"),
        classification=table_1(0.25, 4.0),
    )
    reweighted = noted(
        "cifar10-pixelcnn-small",
        "objective.name=reweight",
        name="reweighted",
        classification=table_1(0.5, 4.3),
    )
    assert on("much better accuracy", alone, reweighted) == SUPPORTED
    assert on("worse NLL", alone, reweighted) == SUPPORTED
    config = reweighted.config.model_copy(update={"seed": 1})
    other = Noted(Path("seed-1"), config, reweighted.summaries)
    assert on("worse NLL", alone, other) == UNTESTED


def test_attacks_are_judged_by_quantized_images() -> None:
    cells = [
        {
            "attack": name,
            "detector_aware": aware,
            "undetected_within": 1.0,
            "quantized_within": 0.0 if name == "Boundary" else 0.9,
            "quantized_within_ci": [0.0, 0.05] if name == "Boundary" else [0.8, 0.95],
        }
        for name in ("Carlini-Wagner", "Boundary", "worst case")
        for aware in (False, True)
    ]
    model = noted("mnist-reweight-small", adversarial={"cells": cells})
    assert on("fails completely on MNIST", model) == SUPPORTED
    assert on("still struggles", model) == AGAINST
    assert on("robust models for MNIST", model) == AGAINST


@pytest.mark.parametrize("weak", [False, True])
def test_weak_attacks_do_not_show_that_a_model_is_robust(weak: bool) -> None:
    worst = {
        "attack": "worst case",
        "detector_aware": True,
        "quantized_within": 0.1,
        "quantized_within_ci": [0.05, 0.2],
    }
    check = {"name": "", "found": "", "advice": ""}
    attacked = {"cells": [worst], "checks": [{**check, "passed": not weak, "doubt": WEAK}]}
    trained = {"checks": [{**check, "passed": True, "doubt": UNDER_TRAINED}]}
    model = noted("mnist-reweight-small", beats=None, adversarial=attacked, classification=trained)
    assert on("robust models for MNIST", model) == (OPEN if weak else SUPPORTED)


def test_attacks_that_find_more_than_the_paper_are_named() -> None:
    def model(share: float) -> Noted:
        cell = {
            "attack": "Carlini-Wagner",
            "detector_aware": True,
            "undetected_within": share,
            "undetected_within_ci": [share - 0.05, share],
        }
        return noted("mnist-reweight-small", adversarial={"cells": [cell]})

    said = stronger_than_the_paper([model(1.0)])
    assert (
        "Carlini-Wagner, detector-aware, on mnist-reweight-small: 100.0 [95.0, 100.0] %, 17 % there"
        in said
    )
    assert "models of MNIST" in said
    assert "CIFAR10" not in said
    assert stronger_than_the_paper([model(0.2)]) == ""


def test_the_interval_of_a_difference_covers_as_often_as_it_says() -> None:
    import numpy as np

    from condgen.audits import intervals

    draw, covered = np.random.default_rng(0), 0
    for _ in range(1000):
        one, two = draw.random(200) < 0.9, draw.random(300) < 0.7
        _, (low, high) = difference(intervals.share(one), intervals.share(two))
        covered += low <= 0.2 <= high
    assert 0.93 < covered / 1000 < 0.97


def test_models_that_are_not_of_the_paper_are_left_out() -> None:
    model = noted("digits-reweight", interpolation=paths(-0.1, 1.0))
    assert set(verdicts(model).values()) == {SUPPORTED, UNTESTED}


def test_the_page_has_the_claims_and_their_numbers(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "MNIST", claims.Who("digits", "split"))
    page = write_report([trained], tmp_path / "report", claims=True)
    assert "The claims of the paper" in page.read_text()
    found = json.loads((tmp_path / "report/tables/claims.json").read_text())
    assert found[0]["verdict"] == SUPPORTED
    assert found[0]["evidence"][0]["value"] == pytest.approx(0.497, abs=1e-3)
