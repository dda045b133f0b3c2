"""Adversarial audit: Table 2 from arrays, pieces that survive a kill, failed checks by name."""

import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from condgen import (
    ClassConditionalDensity,
    CondgenError,
    DiagonalGaussian,
    GenerativeClassifier,
    ImageDataset,
    LikelihoodThreshold,
    load_preset,
)
from condgen.attacks import (
    Attack,
    Boundary,
    CarliniWagner,
    DecoupledDirectionNorm,
    HopSkipJump,
    Misclassify,
    StartingPoints,
)
from condgen.audits import Record, adversarial
from condgen.audits.adversarial.summary import WORST, by_attack, curve, summarize
from condgen.audits.fingerprints import fingerprint
from condgen.config import preset_names
from tests.attacks.models import Broken, images, two_gaussians

ATTACKS = {"Carlini-Wagner": CarliniWagner(searches=2, steps=30), "Boundary": Boundary(queries=150)}


def dataset(number: int = 30, seed: int = 0) -> ImageDataset:
    x, label = images(number, seed=seed)
    return ImageDataset((x * 255).round().to(torch.uint8).numpy(), label.numpy())


def audited(
    classifier: GenerativeClassifier | None = None, threshold: float = 30.0, **settings
) -> Record:
    settings = {
        "starting_points": dataset(seed=1),
        "attacks": ATTACKS,
        "budget": "smoke",
        "images": 8,
        "epsilon": 0.3,
        "quiet": True,
        **settings,
    }
    return adversarial(
        classifier or two_gaussians(),
        dataset(),
        detector=LikelihoodThreshold(threshold),
        **settings,
    )


def outcome(record: Record) -> dict[str, bool | None]:
    return {check["name"]: check["passed"] for check in record.summary["checks"]}


def test_a_sound_evaluation_finds_no_fault_with_itself() -> None:
    record = audited()
    assert all(outcome(record).values()), record.summary["checks"]
    assert len(outcome(record)) == 15
    assert record.arrays["perturbed"].shape == (32, 1, 1, 16)
    assert set(record.arrays["status"].tolist()) == {"reached"}


class Blind(CarliniWagner):
    """Find nothing if there is a detector."""

    def perturb(self, search, index, generator):
        return (
            super().perturb(search, index, generator)
            if isinstance(search.goal, Misclassify)
            else {}
        )


class BlindBoundary(Boundary):
    """Find nothing if there is a detector."""

    def perturb(self, search, index, generator):
        return (
            super().perturb(search, index, generator)
            if isinstance(search.goal, Misclassify)
            else {}
        )


def test_attacks_that_fail_before_the_detector_are_not_a_model_that_resists() -> None:
    """Detector-aware attacks must find what evades by chance, unlike in the paper's Table 2."""
    record = audited(
        attacks={
            "Carlini-Wagner": Blind(searches=2, steps=30),
            "Boundary": BlindBoundary(queries=150),
        }
    )
    cells = {(cell["attack"], cell["detector_aware"]): cell for cell in record.summary["cells"]}
    assert cells["Carlini-Wagner", True]["undetected"] == 0
    assert cells[WORST, True]["undetected"] == 1
    assert (
        outcome(record)["detector-aware attacks are at least as strong as detector-unaware ones"]
        is False
    )
    assert (
        outcome(record)["every detector-aware gradient-based attack succeeds where any attack does"]
        is False
    )


def test_one_attack_that_fails_is_not_hidden_by_the_others() -> None:
    attacks = {"Carlini-Wagner": Blind(searches=2, steps=30), "DDN": DecoupledDirectionNorm(30)}
    checks = outcome(audited(attacks=attacks))
    assert (
        checks["every detector-aware gradient-based attack succeeds where any attack does"] is False
    )


@pytest.mark.parametrize(
    ("fault", "caught"),
    [
        ("quantised input", "no gradient is zero or NaN"),
        ("masked gradient", "gradients agree with finite differences"),
        ("stochastic output", "predictions are deterministic"),
        ("saturated posterior", "no gradient is zero or NaN"),
        ("no gradient", "no gradient is zero or NaN"),
        ("NaN in part of the gradient", "no gradient is zero or NaN"),
    ],
)
def test_a_broken_classifier_is_called_by_its_fault(fault: str, caught: str) -> None:
    record = audited(GenerativeClassifier(Broken(two_gaussians().density, fault)))
    assert outcome(record)[caught] is False
    if fault == "no gradient":
        assert {cell["attack"] for cell in record.summary["cells"]} == {"Boundary", WORST}
        assert outcome(record)["gradients agree with finite differences"] is None


@pytest.mark.parametrize("seed", range(3))
def test_a_stochastic_classifier_is_called_so_by_the_budgets_own_attacks(seed: int) -> None:
    torch.manual_seed(seed)
    record = audited(
        GenerativeClassifier(Broken(two_gaussians().density, "stochastic output")),
        attacks=None,
        images=4,
    )
    assert outcome(record)["predictions are deterministic"] is False


def test_a_gradient_free_attack_that_wins_is_reported() -> None:
    weak = {
        "Carlini-Wagner": CarliniWagner(searches=1, steps=1, start_steps=1),
        "HopSkipJump": HopSkipJump(queries=600),
    }
    checks = outcome(audited(attacks=weak))
    assert checks["gradient-free attacks on classifier do not beat gradient-based ones"] is False


@dataclass(frozen=True)
class Slow(Attack):
    """Move along the diagonal step by step. The number of steps is too small to converge."""

    steps: int = 4

    def doubled(self) -> Attack:
        return replace(self, steps=2 * self.steps)

    def perturb(self, search, index, generator):
        away = torch.where(search.x[index].mean((1, 2, 3), keepdim=True) < 0.5, 1.0, -1.0)
        for step in range(self.steps):
            search.margins(search.clip(search.x[index] + (0.5 - 0.04 * step) * away), index)
        return {}


def test_an_attack_that_has_not_arrived_is_reported() -> None:
    checks = outcome(audited(attacks={"slow": Slow()}, epsilon=1.4))
    assert checks["twice the steps change the success rate by less than 2 points"] is False
    assert checks["twice the steps reduce the median distance by less than 2 %"] is False


def test_another_epsilon_needs_no_new_attack() -> None:
    arrays = audited().arrays
    shares = [
        summarize(arrays, epsilon)["cells"][0]["undetected_within"]
        for epsilon in (0.01, 0.25, 0.3, 0.4, 5.0)
    ]
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert shares[-1] == 1
    found = by_attack(arrays, knows=False)["Carlini-Wagner"]
    distance, share = curve(found["undetected"])
    assert share[np.searchsorted(distance, 0.3, side="right") - 1] == pytest.approx(shares[2])


def rows(attack: str, knows: bool, l2: list[float], flagged: list[bool]) -> dict[str, np.ndarray]:
    number = len(l2)
    far = np.array(l2, dtype=np.float32)
    return {
        "attack": np.array([attack] * number),
        "detector_aware": np.full(number, knows),
        "index": np.arange(number)[::-1].copy(),
        "reached": np.isfinite(far),
        "reached_quantized": np.isfinite(far),
        "flagged": np.array(flagged),
        "flagged_quantized": np.array(flagged),
        "l2": far,
        "l2_quantized": far,
        "forward": np.ones(number, int),
        "backward": np.ones(number, int),
        "status": np.array(["reached"] * number),
    }


def test_the_worst_case_takes_the_nearest_of_each_kind() -> None:
    """One attack is near and detected, the other is far and undetected.

    Chance evasions of detector-unaware attacks count as detector-aware too.
    """
    inf = math.inf
    parts = [
        rows("near", False, [1.0, 9.0, inf], [True, True, False]),
        rows("far", False, [9.0, 1.0, 4.0], [False, True, False]),
        rows("near", True, [inf, inf, 5.0], [False] * 3),
        rows("far", True, [inf, 7.0, inf], [False] * 3),
    ]
    arrays = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    worst = {knows: by_attack(arrays, knows)[WORST] for knows in (False, True)}
    assert worst[False]["any"].tolist() == [4.0, 1.0, 1.0]
    assert worst[False]["undetected"].tolist() == [4.0, inf, 9.0]
    assert worst[True]["undetected"].tolist() == [4.0, 7.0, 9.0]
    assert worst[True]["any"].tolist() == [4.0, 7.0, 9.0]
    cells = {
        (cell["attack"], cell["detector_aware"]): cell for cell in summarize(arrays, 1.5)["cells"]
    }
    assert cells[WORST, False]["misclassified_within"] == pytest.approx(2 / 3)
    assert cells["near", True]["median_l2_undetected"] is None
    assert cells["far", False]["median_l2"] == 4.0


def test_the_record_says_what_became_of_every_image() -> None:
    record = audited(threshold=9.5)
    arrays, classifier = record.arrays, two_gaussians()
    prediction = classifier(torch.from_numpy(arrays["perturbed"]))
    assert np.array_equal(arrays["misclassified"], (prediction.label.numpy() != arrays["label"]))
    assert np.allclose(arrays["bits_per_dim"], prediction.bits_per_dim.numpy(), atol=1e-5)
    assert np.array_equal(arrays["flagged"], prediction.bits_per_dim.numpy() > 9.5)
    x, label = dataset().batch(arrays["index"])
    assert np.array_equal(arrays["label"], label.numpy())
    reached = arrays["reached"]
    assert np.allclose(
        arrays["l2"][reached],
        (torch.from_numpy(arrays["perturbed"]) - x).flatten(1).norm(dim=1)[reached],
        atol=1e-6,
    )
    assert not (arrays["reached"] & arrays["flagged"] & arrays["detector_aware"]).any()
    assert np.array_equal(
        arrays["reached"], arrays["misclassified"] & ~(arrays["flagged"] & arrays["detector_aware"])
    )


def test_targets_are_other_classes_and_are_met() -> None:
    arrays = audited(targeted=True).arrays
    assert np.array_equal(arrays["target"], 1 - arrays["label"])
    assert np.array_equal(
        arrays["predicted"][arrays["reached"]], arrays["target"][arrays["reached"]]
    )


def test_a_detector_that_refuses_every_clean_image_is_named_before_any_attack() -> None:
    with pytest.raises(
        CondgenError, match=r"8 are classified correctly, 0 are accepted, and none is both.*now 1,"
    ):
        audited(threshold=1.0)


@pytest.mark.parametrize("epsilon", [-1.0, 0.0, math.nan, math.inf])
def test_a_senseless_epsilon_is_refused(epsilon: float) -> None:
    with pytest.raises(CondgenError, match="expected a positive L2 distance"):
        audited(epsilon=epsilon)


def test_pieces_are_reused_and_those_of_another_plan_are_not(tmp_path: Path) -> None:
    first = audited(directory=str(tmp_path))
    pieces = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*.npz")}
    assert len(pieces) == 4
    again = audited(directory=tmp_path, attacks={**ATTACKS})
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*.npz")} == pieces
    assert first.summary == again.summary
    other = audited(directory=tmp_path, seed=1)
    assert {path: path.stat().st_mtime_ns for path in pieces} == pieces
    assert len(list(tmp_path.glob("*/*.npz"))) == 8
    assert other.summary["seed"] == 1
    assert "perturbed" not in other.arrays


def test_a_plan_is_what_results_depend_on(tmp_path: Path) -> None:
    """Starting points, model behavior and settings change the plan; equal values do not."""
    attacks = {"Boundary": Boundary(StartingPoints(images(4)[0]), queries=60)}
    plans = [
        {"attacks": attacks},
        {"attacks": {"Boundary": Boundary(StartingPoints(images(4)[0]), queries=60)}},
        {"attacks": {"Boundary": Boundary(StartingPoints(images(4, seed=5)[0]), queries=60)}},
        {"attacks": attacks, "classifier": two_gaussians(distance=0.5)},
        {"attacks": {"Boundary": Boundary(StartingPoints(images(4)[0]), queries=61)}},
    ]
    counts = []
    for plan in plans:
        audited(directory=tmp_path, **plan)
        counts.append(len(list(tmp_path.iterdir())))
    assert counts == [1, 1, 2, 3, 4]


class Own(Attack):
    """A user-defined attack with attributes of any type."""

    def __init__(self, **parts):
        self.__dict__.update(parts)

    def perturb(self, search, index, generator):
        return super().perturb(search, index, generator)


class Other(Own):
    def perturb(self, search, index, generator):
        return {}


def network(last: float) -> torch.nn.Module:
    layer = torch.nn.Linear(40, 40)
    torch.nn.init.zeros_(layer.weight).data[20, 20] = last
    torch.nn.init.zeros_(layer.bias)
    return layer


PARTS = {
    "function": (lambda: lambda m: m.sin(), lambda: lambda m: m.cos()),
    "constant": (lambda: lambda m: m * 2, lambda: lambda m: m * 3),
    "array": (
        lambda: np.arange(3000),
        lambda: np.where(np.arange(3000) == 1500, 0, np.arange(3000)),
    ),
    "module": (lambda: network(0.0), lambda: network(1.0)),
    "dict": (lambda: {"a": 1, "b": np.zeros(2)}, lambda: {"a": 1, "b": np.ones(2)}),
    "set": (lambda: frozenset("abc"), lambda: frozenset("abd")),
}


@pytest.mark.parametrize("kind", PARTS)
def test_a_fingerprint_tells_parts_of_every_kind_apart(kind: str) -> None:
    one, other = PARTS[kind]
    assert fingerprint(Own(part=one())) == fingerprint(Own(part=one()))
    assert fingerprint(Own(part=one())) != fingerprint(Own(part=other()))


def test_a_fingerprint_is_of_the_code_too_and_the_same_in_another_process() -> None:
    assert fingerprint(Own()) != fingerprint(
        type("Own", (Other,), {"__module__": Own.__module__})()
    )
    itself = Own()
    itself.again = itself
    assert fingerprint(itself) == fingerprint(itself)
    made = "Own(f=lambda m: m in {'a', 'b'}, g=np.arange(9), h=network(2.0))"
    script = (
        "import numpy as np\nfrom tests.audits.test_adversarial import *\n"
        f"print(fingerprint({made}))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parents[2],
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1


def test_attacks_of_similar_and_of_long_names_are_kept_apart(tmp_path: Path) -> None:
    names = ("my attack", "my-attack", "a/b", "x" * 90)
    record = audited(
        directory=tmp_path,
        attacks={name: DecoupledDirectionNorm(2 + i) for i, name in enumerate(names)},
    )
    assert [cell["attack"] for cell in record.summary["cells"]] == [*names, WORST] * 2
    assert len(list(tmp_path.glob("*/*.npz"))) == 8


def test_attacks_that_all_need_a_gradient_are_refused_where_there_is_none() -> None:
    broken = GenerativeClassifier(Broken(two_gaussians().density, "no gradient"))
    with pytest.raises(CondgenError, match="all attacks need one; Boundary and HopSkipJump do not"):
        audited(broken, attacks={"Carlini-Wagner": CarliniWagner()})


def test_starts_that_are_no_data_set_are_refused() -> None:
    with pytest.raises(CondgenError, match="starting_points is a Tensor, expected an ImageDataset"):
        audited(starting_points=torch.rand(3, 1, 4, 4))


def test_held_out_images_that_cannot_be_started_from_give_a_status() -> None:
    wrong = ImageDataset(dataset().images, 1 - dataset().labels, class_names=("0", "1"))
    record = audited(starting_points=wrong, budget="smoke", attacks=None, images=4)
    boundary = record.arrays["attack"] == "Boundary"
    assert set(record.arrays["status"][boundary].tolist()) == {"no start image reaches the goal"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"images": 0}, "images is 0, expected a whole number of at least 1"),
        ({"images": 4.5}, "images is 4.5, expected a whole number"),
        ({"attacks": {}}, r"attacks is \{\}; name them"),
        ({"attacks": [CarliniWagner()]}, r"attacks is \[CarliniWagner\(.*\]; name them"),
        (
            {"attacks": {"mine": CarliniWagner}},
            r"the attack 'mine' is <class .*>, expected an object such as Carlini",
        ),
    ],
)
def test_attacks_that_cannot_be_made_are_refused(settings: dict, said: str) -> None:
    with pytest.raises(CondgenError, match=said):
        audited(**settings)


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
            [sys.executable, "-c", SCRIPT, str(place)],
            cwd=root,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    killed = start(tmp_path / "killed")
    while not list((tmp_path / "killed").glob("pieces/*/00-carlini*.npz")):
        assert killed.poll() is None
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "killed").glob("pieces/*/*.npz")}
    assert not (tmp_path / "killed" / "adversarial.json").exists()
    assert start(tmp_path / "killed").wait() == 0
    assert {path: path.stat().st_mtime_ns for path in made} == made
    assert start(tmp_path / "whole").wait() == 0
    assert (tmp_path / "killed" / "adversarial.json").read_text() == (
        tmp_path / "whole" / "adversarial.json"
    ).read_text()


class Quantized(DiagonalGaussian):
    """Equal to the Gaussian on quantized images and different between levels."""

    def class_log_prob(self, x):
        return super().class_log_prob((x * 255).round() / 255)


class Accepting:
    """A user-defined detector. Its subclass differs only in code."""

    threshold = 30.0

    def score(self, prediction):
        return prediction.bits_per_dim


class Distant(Accepting):
    def score(self, prediction):
        moved = (prediction.x - (prediction.x * 255).round() / 255).abs().flatten(1).amax(1)
        return prediction.bits_per_dim + 100 * (moved > 1e-3).float()


def test_attacks_of_another_model_that_agrees_on_clean_images_are_not_reused(
    tmp_path: Path,
) -> None:
    plain = two_gaussians()
    other = GenerativeClassifier(Quantized(plain.density.mean, 0.2))
    settings = {"attacks": {"DDN": DecoupledDirectionNorm(5)}}
    first = audited(plain, directory=tmp_path, **settings)
    reused = audited(other, directory=tmp_path, **settings)
    assert first.summary["cells"][0]["misclassified"] == 1
    assert (
        reused.summary["cells"]
        == audited(other, **settings).summary["cells"]
        != first.summary["cells"]
    )
    assert len(list(tmp_path.iterdir())) == 2


def test_the_longest_time_is_printed_first(capsys: pytest.CaptureFixture[str]) -> None:
    audited(quiet=False)
    printed = capsys.readouterr().err
    assert "attacks on" in printed
    assert "images: at most about" in printed
    assert printed.index("at most about") < printed.index("on classifier")


def test_attacks_before_another_detector_that_agrees_on_clean_images_are_not_reused(
    tmp_path: Path,
) -> None:
    settings = {
        "attacks": {"DDN": DecoupledDirectionNorm(5)},
        "budget": "smoke",
        "images": 8,
        "epsilon": 0.3,
        "quiet": True,
    }
    common = {"starting_points": dataset(seed=1), "directory": tmp_path, **settings}
    records = [
        adversarial(two_gaussians(), dataset(), detector=detector(), **common)
        for detector in (Accepting, Distant)
    ]
    found = [record.summary["cells"][-1]["undetected"] for record in records]
    assert found[0] == 1
    assert found[1] < 1


class Chance(ClassConditionalDensity):
    """A model that predicts each class with the same probability, independent of the image."""

    num_classes, event_shape = 2, (1, 1, 16)

    def class_log_prob(self, x):
        return -20 * torch.rand(len(x), 2) - 0 * x.flatten(1).sum(1, keepdim=True)


@pytest.mark.parametrize("seed", range(4))
def test_a_model_of_chance_is_audited_and_called_so(seed: int) -> None:
    torch.manual_seed(seed)
    record = audited(
        GenerativeClassifier(Chance()), images=30, attacks={"DDN": DecoupledDirectionNorm(10)}
    )
    assert outcome(record)["predictions are deterministic"] is False
    # One query misclassifies half of the images; eight queries would misclassify all.
    assert record.summary["cells"][0]["misclassified"] < 0.8


@dataclass(frozen=True)
class Idle(Attack):
    """An attack that never succeeds."""

    needs_gradient = True
    gradient: bool = True

    def doubled(self) -> Attack:
        return self

    def perturb(self, search, index, generator):
        return {}


@dataclass(frozen=True)
class IdleToo(Idle):
    needs_gradient = False


def test_checks_that_have_nothing_to_examine_are_not_run() -> None:
    checks = outcome(audited(attacks={"idle": Idle(), "idle too": IdleToo()}))
    nothing = {
        "a constant added to all class log-likelihoods changes nothing",
        "successes are reproducible",
        "detector-aware attacks are at least as strong as detector-unaware ones",
        "gradient-free attacks on classifier do not beat gradient-based ones",
        "gradient-free attacks on classifier and detector do not beat gradient-based ones",
        "random noise of the same norm is weaker",
        "twice the steps reduce the median distance by less than 2 %",
        "successes survive quantization",
    }
    assert {name: checks[name] for name in nothing} == dict.fromkeys(nothing)
    assert (
        checks["without a limit on distance, every gradient-based attack succeeds on every image"]
        is False
    )


def test_pieces_that_are_incomplete_are_made_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first = audited(directory=tmp_path)
    pieces = sorted(tmp_path.glob("*/*.npz"))
    for path, change in zip(pieces, ("column", "rows", "bytes", "more"), strict=True):
        with np.load(path) as stored:
            arrays = dict(stored)
        match change:
            case "column":
                del arrays["predicted"]
            case "rows":
                arrays["l2"] = arrays["l2"][:-1]
            case "more":
                arrays["another"] = arrays["l2"]
        np.savez_compressed(path, **arrays)
        if change == "bytes":
            path.write_bytes(path.read_bytes()[:-40])
    again = audited(directory=tmp_path)
    assert capfd.readouterr().err.count("is recomputed") == 4
    assert again.summary == first.summary


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_an_audit_without_gradients_around_it_attacks_all_the_same(context) -> None:
    with context():
        record = audited()
    assert record.summary["left_out"] == []
    assert record.summary["cells"] == audited().summary["cells"]


def test_attacks_that_are_left_out_are_named() -> None:
    record = audited(GenerativeClassifier(Broken(two_gaussians().density, "no gradient")))
    assert record.summary["left_out"] == ["Carlini-Wagner"]


def test_the_mode_of_the_model_stays_as_it_was() -> None:
    for training in (True, False):
        classifier = two_gaussians().train(training)
        audited(classifier, attacks={"DDN": DecoupledDirectionNorm(5)})
        assert all(module.training is training for module in classifier.modules())


def test_the_score_of_the_detector_is_kept() -> None:
    record = audited()
    for when in ("", "_before", "_quantized"):
        assert np.array_equal(record.arrays[f"score{when}"], record.arrays[f"bits_per_dim{when}"])
    assert record.summary["class_prior"] == "uniform"


@pytest.mark.parametrize("preset", [name for name in preset_names() if name.startswith("cifar10")])
def test_the_epsilon_of_cifar10_is_the_papers(preset: str) -> None:
    settings = load_preset(preset).audit_settings("adversarial")
    assert settings.epsilon == pytest.approx(33 / 255, abs=1e-4)


@pytest.mark.parametrize(
    "wrong",
    [
        {"epsilon": None},
        {"epsilon": "1"},
        {"seed": -1},
        {"seed": 0.5},
        {"directory": 3},
        {"images": None, "seed": None},
    ],
)
def test_settings_of_the_wrong_type_are_refused(wrong: dict) -> None:
    with pytest.raises(CondgenError, match=r"expected a|is no path"):
        audited(**wrong)
