"""The adversarial audit: Table 2 from arrays, pieces that survive a kill, and faults that are called by their names."""

import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from condgen import CondgenError, GenerativeClassifier, ImageDataset, LikelihoodThreshold
from condgen.attacks import Boundary, CarliniWagner, HopSkipJump, Starts
from condgen.audits import Record, adversarial
from condgen.audits.adversarial.summary import WORST, by_attack, curve, summarise
from tests.attacks.models import Broken, images, two_gaussians

ATTACKS = {"Carlini-Wagner": CarliniWagner(searches=2, steps=30), "Boundary": Boundary(queries=150)}


def dataset(number: int = 30, seed: int = 0) -> ImageDataset:
    x, label = images(number, seed=seed)
    return ImageDataset((x * 255).round().to(torch.uint8).numpy(), label.numpy())


def audited(classifier: GenerativeClassifier | None = None, threshold: float = 30.0, **settings) -> Record:
    settings = {"attacks": ATTACKS, "budget": "smoke", "images": 8, "epsilon": 0.3, "quiet": True, **settings}
    return adversarial(
        classifier or two_gaussians(),
        dataset(),
        starts=dataset(seed=1),
        detector=LikelihoodThreshold(threshold),
        **settings,
    )


def outcome(record: Record) -> dict[str, bool | None]:
    return {check["name"]: check["passed"] for check in record.summary["checks"]}


def test_a_sound_evaluation_finds_no_fault_with_itself() -> None:
    record = audited()
    assert all(outcome(record).values()), record.summary["checks"]
    assert len(outcome(record)) == 12
    assert record.arrays["perturbed"].shape == (32, 1, 1, 16)
    assert set(record.arrays["status"].tolist()) == {"reached"}


@pytest.mark.parametrize(
    ("fault", "caught"),
    [
        ("quantised input", "no gradient is zero or NaN"),
        ("masked gradient", "gradients foretell what happens"),
        ("stochastic output", "the same image gets the same answer"),
        ("saturated posterior", "no gradient is zero or NaN"),
        ("no gradient", "no gradient is zero or NaN"),
    ],
)
def test_a_broken_classifier_is_called_by_its_fault(fault: str, caught: str) -> None:
    record = audited(GenerativeClassifier(Broken(two_gaussians().density, fault)))
    assert outcome(record)[caught] is False
    if fault == "no gradient":
        assert {cell["attack"] for cell in record.summary["cells"]} == {"Boundary", WORST}
        assert outcome(record)["gradients foretell what happens"] is None


def test_a_gradient_free_attack_that_wins_is_reported() -> None:
    weak = {"Carlini-Wagner": CarliniWagner(searches=1, steps=1, start_steps=1), "HopSkipJump": HopSkipJump(queries=600)}
    checks = outcome(audited(attacks=weak))
    assert checks["gradient-free attacks do not beat gradient-based ones"] is False
    assert checks["twice the steps change less than 2 points"] is not None


def test_another_epsilon_needs_no_new_attack() -> None:
    arrays = audited().arrays
    shares = [summarise(arrays, epsilon)["cells"][0]["undetected_within"] for epsilon in (0.01, 0.25, 0.3, 0.4, 5.0)]
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert shares[-1] == 1
    rows = by_attack(arrays, knows=False)["Carlini-Wagner"]
    distance, share = curve(rows, undetected=True)
    assert share[np.searchsorted(distance, 0.3, side="right") - 1] == pytest.approx(shares[2])


def test_the_worst_case_is_the_nearest_unnoticed_success_of_each_image() -> None:
    arrays = audited().arrays
    parts = by_attack(arrays, knows=True)
    worst = parts.pop(WORST)
    each = np.min([np.where(part["fooled"] & ~part["flagged"], part["l2"], np.inf) for part in parts.values()], axis=0)
    assert np.allclose(worst["l2"], each)


def test_the_record_says_what_became_of_every_image() -> None:
    record = audited(threshold=9.5)
    arrays, classifier = record.arrays, two_gaussians()
    prediction = classifier(torch.from_numpy(arrays["perturbed"]))
    assert np.array_equal(arrays["fooled"], (prediction.label.numpy() != arrays["label"]))
    assert np.allclose(arrays["bits_per_dim"], prediction.bits_per_dim.numpy(), atol=1e-5)
    assert np.array_equal(arrays["flagged"], prediction.bits_per_dim.numpy() > 9.5)
    x, label = dataset().batch(arrays["index"])
    assert np.array_equal(arrays["label"], label.numpy())
    reached = arrays["reached"]
    assert np.allclose(
        arrays["l2"][reached], (torch.from_numpy(arrays["perturbed"]) - x).flatten(1).norm(dim=1)[reached], atol=1e-6
    )
    knows = np.array([cell.endswith("|1") for cell in arrays["cell"].tolist()])
    assert not (arrays["fooled"] & arrays["flagged"] & knows).any()


def test_targets_are_other_classes_and_are_met() -> None:
    arrays = audited(targeted=True).arrays
    assert np.array_equal(arrays["target"], 1 - arrays["label"])
    assert np.array_equal(arrays["predicted"][arrays["reached"]], arrays["target"][arrays["reached"]])


def test_a_detector_that_refuses_every_clean_image_is_named_before_any_attack() -> None:
    with pytest.raises(CondgenError, match=r"8 are correct and 0 accepted, none both.*now 1,"):
        audited(threshold=1.0)


@pytest.mark.parametrize("epsilon", [-1.0, 0.0, math.nan, math.inf])
def test_a_senseless_epsilon_is_refused(epsilon: float) -> None:
    with pytest.raises(CondgenError, match="expected a positive L2 distance"):
        audited(epsilon=epsilon)


def test_pieces_are_reused_and_those_of_another_plan_are_not(tmp_path: Path) -> None:
    first = audited(directory=tmp_path)
    pieces = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*.npz")}
    assert len(pieces) == 4
    again = audited(directory=tmp_path, attacks={**ATTACKS})
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*.npz")} == pieces
    assert first.summary == again.summary
    other = audited(directory=tmp_path, seed=1)
    assert not pieces.keys() & set(tmp_path.glob("*/*.npz"))
    assert other.summary["seed"] == 1
    assert "perturbed" not in other.arrays


SCRIPT = """
import sys
from pathlib import Path
from condgen.attacks import Boundary, CarliniWagner
from tests.audits.test_adversarial import audited
attacks = {"Carlini-Wagner": CarliniWagner(), "Boundary": Boundary(queries=4000)}
record = audited(directory=Path(sys.argv[1]) / "pieces", attacks=attacks)
record.save(Path(sys.argv[1]))
"""


def test_an_audit_that_was_killed_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    def start(place: Path) -> subprocess.Popen[bytes]:
        root = Path(__file__).parents[2]
        return subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(place)], cwd=root, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )

    killed = start(tmp_path / "killed")
    while not list((tmp_path / "killed").glob("pieces/*/carlini*.npz")):
        assert killed.poll() is None
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed" / "adversarial.json").exists()
    assert start(tmp_path / "killed").wait() == 0
    assert start(tmp_path / "whole").wait() == 0
    assert (tmp_path / "killed" / "adversarial.json").read_text() == (tmp_path / "whole" / "adversarial.json").read_text()


def test_start_images_are_accepted_and_of_another_class() -> None:
    record = audited(attacks={"Boundary": Boundary(Starts(torch.full((1, 1, 1, 16), 0.5)), queries=50)})
    assert set(record.arrays["status"].tolist()) <= {"no start image reaches the goal", "reached"}
