"""Each conformance check fails on a deliberately broken density."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from condgen import open_dataset
from condgen.audits import Audit, Record, Subject
from condgen.audits.checks import Check
from condgen.classifier import GenerativeClassifier, Prediction
from condgen.config import AuditSettings
from condgen.density import ClassConditionalDensity
from condgen.detectors import Detector, LikelihoodThreshold
from condgen.errors import CondgenError
from condgen.models.gaussian import DiagonalGaussian
from condgen.testing import check_audit, check_density, check_detector
from tests.conftest import tiny_glow

X = torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(0))
MEAN = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(1))
FLOW_CHECKS = {"round trip", "log-determinant", "bits/dim"}


def failed(density: ClassConditionalDensity) -> set[str]:
    return {check.name for check in check_density(density, X) if not check.passed}


class Broken(DiagonalGaussian):
    def __init__(self, mean: torch.Tensor = MEAN, scale: float = 0.2) -> None:
        super().__init__(mean, scale)


class WrongShape(Broken):
    def class_log_prob(self, x: torch.Tensor) -> torch.Tensor:
        return super().class_log_prob(x)[:, :2]


class NotFinite(Broken):
    def class_log_prob(self, x: torch.Tensor) -> torch.Tensor:
        return super().class_log_prob(x) + (x.flatten(1)[:, :1] - 0.5).log()


class DependsOnBatch(Broken):
    def class_log_prob(self, x: torch.Tensor) -> torch.Tensor:
        return super().class_log_prob(x - x.mean(0))


class Noisy(Broken):
    def class_log_prob(self, x: torch.Tensor) -> torch.Tensor:
        return super().class_log_prob(x + 1e-3 * torch.randn_like(x))


class WithoutGradient(Broken):
    def class_log_prob(self, x: torch.Tensor) -> torch.Tensor:
        return super().class_log_prob(x.detach())


class WrongGradient(Broken):
    def class_log_prob(self, x: torch.Tensor) -> torch.Tensor:
        return super().class_log_prob(2 * x - x.detach())


class Kinked(Broken):
    """A piecewise linear term, as ReLUs give. Its slope changes sign every 0.0005."""

    def class_log_prob(self, x: torch.Tensor) -> torch.Tensor:
        return super().class_log_prob(x) + (x * 1000 % 1 - 0.5).abs().flatten(1).sum(
            1, keepdim=True
        )


class WrongUnits(Broken):
    """A density of x within its bounds instead of the quantized values."""

    def __init__(self) -> None:
        super().__init__(X, scale=0.03)

    def class_log_prob(self, x: torch.Tensor) -> torch.Tensor:
        low, high = self.bounds
        wide = 0.03 * (high - low)
        normal = torch.distributions.Normal(low + (high - low) * self.mean, wide)
        return normal.log_prob(x[:, None]).flatten(2).sum(-1)


class Rounded(Broken):
    def class_log_prob(self, x: torch.Tensor) -> torch.Tensor:
        return super().class_log_prob(x).bfloat16()


class WritesIntoItsInput(Broken):
    def class_log_prob(self, x: torch.Tensor) -> torch.Tensor:
        return super().class_log_prob(x.sub_(0.5) + 0.5)


BROKEN = {
    WrongUnits: "units",
    Rounded: "precision",
    WritesIntoItsInput: "leaves its input unchanged",
    WrongShape: "shape",
    NotFinite: "finite",
    DependsOnBatch: "independent of the batch",
    Noisy: "independent of the random state",
    WithoutGradient: "gradient",
    WrongGradient: "gradient",
}


@pytest.mark.parametrize("kind", BROKEN, ids=lambda kind: kind.__name__)
def test_a_broken_density_fails_the_check_that_is_for_it(kind: type[Broken]) -> None:
    assert BROKEN[kind] in failed(kind())


def test_good_densities_pass() -> None:
    assert not failed(Broken())
    glow = tiny_glow(strength=0.05)
    assert not failed(glow)
    assert {check.name for check in check_density(glow, X)} >= FLOW_CHECKS


class OneColumn(Broken):
    def class_log_prob(self, x: torch.Tensor) -> torch.Tensor:
        return super().class_log_prob(x)[:, 0]


class SinglePrecision(Broken):
    def class_log_prob(self, x: torch.Tensor) -> torch.Tensor:
        return super().class_log_prob(x).float()


class OnlyFloat32(Broken):
    def class_log_prob(self, x: torch.Tensor) -> torch.Tensor:
        return super().class_log_prob(x) + x.flatten(1)[:, :2].float() @ torch.zeros(
            2, 1, dtype=x.dtype
        )


def test_a_wrong_shape_is_all_that_is_said() -> None:
    assert [(check.name, check.passed) for check in check_density(OneColumn(), X)] == [
        ("shape", False)
    ]


@pytest.mark.parametrize("kind", [SinglePrecision, OnlyFloat32])
def test_a_slope_that_cannot_be_measured_is_no_fault(kind: type[Broken]) -> None:
    (gradient,) = (check for check in check_density(kind(), X) if check.name == "gradient")
    assert gradient.passed is None
    assert "not measured" in gradient.found


def test_a_slope_does_not_cross_kinks() -> None:
    assert "gradient" not in failed(Kinked())


def test_a_flow_that_is_no_bijection_fails_the_round_trip() -> None:
    glow = tiny_glow(strength=0.05)
    glow.decode = lambda z: torch.zeros(len(z), 1, 4, 4)
    assert failed(glow) == {"round trip"}


def test_an_answer_that_is_no_tensor_is_a_wrong_shape_and_a_model_without_shape_is_refused() -> (
    None
):
    class Listed(Broken):
        def class_log_prob(self, x: torch.Tensor) -> torch.Tensor:
            return super().class_log_prob(x).tolist()

    assert [(check.name, check.passed, check.found) for check in check_density(Listed(), X)] == [
        ("shape", False, "list")
    ]
    shapeless = Broken()
    shapeless.event_shape = None  # type: ignore[assignment]
    with pytest.raises(CondgenError, match="event_shape is None, expected a tuple"):
        check_density(shapeless, X)


def test_one_image_is_too_few() -> None:
    with pytest.raises(CondgenError, match="at least two images"):
        check_density(Broken(), X[:1])


def units(density: ClassConditionalDensity) -> Check:
    return {check.name: check for check in check_density(density, X)}["units"]


def test_wrong_units_name_the_missing_term() -> None:
    """Each image is a class mean.

    There the density of x is 1 / (0.03 sqrt(2 pi)) per dimension; that of pixel values is 255 times
    smaller.
    """
    right = math.log2(255 * 0.03 * math.sqrt(2 * math.pi))
    density = WrongUnits()
    assert not units(density).passed
    assert f"{right - math.log2(255):.2f} bits/dim" in units(density).found
    assert (
        "x in [0, 1] is too large by log(255) nats per dimension,"
        f" and has {right:.2f} bits/dim without" in units(density).found
    )
    density.bounds = (-1.0, 1.0)
    assert (
        "x in [-1, 1] is too large by log(127.5) nats per dimension,"
        f" and has {right:.2f} bits/dim without" in units(density).found
    )


def test_continuous_data_has_no_units_to_check() -> None:
    density = WrongUnits()
    density.pixel_levels = None
    assert units(density).passed is None


class Symmetric(Broken):
    """A density with bounds [-1, 1], which the checks must respect."""

    bounds = (-1.0, 1.0)

    def class_log_prob(self, x: torch.Tensor) -> torch.Tensor:
        return super().class_log_prob((x + 1) / 2).where(x.amin() < -0.5, torch.nan)


def test_images_are_those_of_a_classifier_whatever_the_models_bounds() -> None:
    assert not failed(Symmetric())


class Autoencoder(Broken):
    """A model whose ``encode`` does not return a log-determinant."""

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x.flatten(1)[:, :4], x.flatten(1)[:, 4:8]

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        return z


def test_an_autoencoder_is_not_taken_for_a_flow() -> None:
    checks = check_density(Autoencoder(), X)
    assert all(check.passed for check in checks)
    assert not {check.name for check in checks} & FLOW_CHECKS


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_callers_gradient_mode_accuses_nobody(mode: type) -> None:
    with mode():
        assert all(check.passed for check in check_density(Broken(), X))


def test_modes_and_random_state_are_left_as_they_were() -> None:
    density = Broken().train()
    before = torch.get_rng_state()
    check_density(density, X)
    assert density.training
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_model_in_another_precision_is_examined(dtype: torch.dtype) -> None:
    class Layer(Broken):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(16, 3)

        def class_log_prob(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x.flatten(1)) - 200

    checks = {check.name: check.passed for check in check_density(Layer().to(dtype), X)}
    assert checks["shape"]
    assert checks["precision"] is (dtype == torch.float64)


def test_a_model_that_cannot_be_copied_is_no_fault() -> None:
    density = Broken()
    density.cache = torch.zeros(1, requires_grad=True) * 2
    assert {check.name: check.passed for check in check_density(density, X)}["gradient"] is None


class OwnDetector(Detector):
    """Negative log-likelihood; each subclass breaks one promise."""

    name, unit = "own", "nats"

    def score(self, prediction: Prediction) -> torch.Tensor:
        return -prediction.log_marginal


class Batched(OwnDetector):
    def score(self, prediction: Prediction) -> torch.Tensor:
        return prediction.log_marginal.mean() - prediction.log_marginal


class Rounded(OwnDetector):
    def score(self, prediction: Prediction) -> torch.Tensor:
        return -prediction.log_marginal.detach().round()


class Random(OwnDetector):
    def score(self, prediction: Prediction) -> torch.Tensor:
        return -prediction.log_marginal * (1 + torch.rand(1))


class NotFiniteScore(OwnDetector):
    def score(self, prediction: Prediction) -> torch.Tensor:
        return (prediction.log_marginal - prediction.log_marginal).log() * 0


class WrongScores(OwnDetector):
    def score(self, prediction: Prediction) -> torch.Tensor:
        return prediction.class_log_prob


class Nameless(OwnDetector):
    name = ""


class Hoards(OwnDetector):
    def fit(self, classifier, train, validation) -> None:
        self.images_seen = [train]


class Tampers(OwnDetector):
    def fit(self, classifier, train, validation) -> None:
        classifier.density.mean += 0.01


class Unscaled(OwnDetector):
    def scale(self, dims: int) -> float:
        return 0.0


@pytest.mark.parametrize(
    ("kind", "broken"),
    [
        (OwnDetector, set()),
        (Batched, {"independent of the batch", "gradient"}),
        (Rounded, {"gradient"}),
        (Random, {"independent of the batch", "independent of the random state"}),
        (NotFiniteScore, {"finite", "gradient"}),
        (WrongScores, {"shape"}),
        (Nameless, {"name and unit"}),
        (Hoards, {"can be saved"}),
        (Tampers, {"the model is unchanged"}),
        (Unscaled, {"scale"}),
    ],
)
def test_each_broken_detector_fails_its_check(kind: type[OwnDetector], broken: set[str]) -> None:
    splits = open_dataset("digits")
    density = DiagonalGaussian.fitted(*splits.train.batch(slice(None)), pixel_levels=17)
    classifier = GenerativeClassifier(density)
    checks = check_detector(kind(), classifier, splits.train, splits.validation)
    assert {check.name for check in checks if not check.passed} == broken


def brightness(subject: Subject, settings: AuditSettings) -> Record:
    bright = subject.splits.test.images.mean((1, 2, 3)) / 16
    summary = {"n": len(bright), "share": 0.25, "share_ci": [0.2, 0.3]}
    return Record("brightness", summary, {"bright": bright})


def changed(**changes: object) -> Callable[[Subject, AuditSettings], Record]:
    """The audit with other numbers in its summary."""

    def make(subject: Subject, settings: AuditSettings) -> Record:
        record = brightness(subject, settings)
        return replace(record, summary={**record.summary, **changes})

    return make


def unseeded(subject: Subject, settings: AuditSettings) -> Record:
    return replace(
        brightness(subject, settings), arrays={"bright": np.random.default_rng().random(3)}
    )


def training_mode(subject: Subject, settings: AuditSettings) -> Record:
    subject.classifier.train()
    return brightness(subject, settings)


@pytest.mark.parametrize(
    ("make", "broken"),
    [
        (brightness, set()),
        (changed(share=0.5), {"intervals contain their numbers"}),
        (changed(nested=[{"x": 2.0, "x_ci": [0, 1]}]), {"intervals contain their numbers"}),
        (unseeded, {"repeatable"}),
        (training_mode, {"the model is unchanged"}),
        (lambda subject, settings: {"share": 0.5}, {"record"}),
        (lambda subject, settings: Record("other", {}, {}), {"record"}),
    ],
)
def test_each_broken_audit_fails_its_check(make: object, broken: set[str]) -> None:
    splits = open_dataset("digits")
    density = DiagonalGaussian.fitted(*splits.train.batch(slice(None)), pixel_levels=17)
    classifier = GenerativeClassifier(density).eval()
    subject = Subject("mine", classifier, splits, LikelihoodThreshold(5.0), quiet=True)
    checks = check_audit(Audit("brightness", AuditSettings, make), subject)
    assert {check.name for check in checks if not check.passed} == broken
