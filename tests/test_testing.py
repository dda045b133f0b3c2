"""The conformance checks catch what they are for, each on a density that is broken on purpose."""

import pytest
import torch

from condgen.density import ClassConditionalDensity
from condgen.errors import CondgenError
from condgen.models.gaussian import DiagonalGaussian
from condgen.testing import check_density
from tests.conftest import tiny_glow

X = torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(0))
FLOW_CHECKS = {"round trip", "log-determinant", "bits/dim"}


def failed(density: ClassConditionalDensity) -> set[str]:
    return {check.name for check in check_density(density, X) if not check.passed}


class Broken(DiagonalGaussian):
    def __init__(self) -> None:
        super().__init__(torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(1)))


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
    """As ReLUs make many of: its slope changes sign every half a thousandth."""

    def class_log_prob(self, x: torch.Tensor) -> torch.Tensor:
        return super().class_log_prob(x) + (x * 1000 % 1 - 0.5).abs().flatten(1).sum(1, keepdim=True)


BROKEN = {
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
        return super().class_log_prob(x) + x.flatten(1)[:, :2].float() @ torch.zeros(2, 1, dtype=x.dtype)


def test_a_wrong_shape_is_all_that_is_said() -> None:
    assert [(check.name, check.passed) for check in check_density(OneColumn(), X)] == [("shape", False)]


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


def test_an_answer_that_is_no_tensor_is_a_wrong_shape_and_a_model_without_shape_is_refused() -> None:
    class Listed(Broken):
        def class_log_prob(self, x: torch.Tensor) -> torch.Tensor:
            return super().class_log_prob(x).tolist()

    assert [(check.name, check.passed, check.found) for check in check_density(Listed(), X)] == [("shape", False, "list")]
    shapeless = Broken()
    shapeless.event_shape = None  # type: ignore[assignment]
    with pytest.raises(CondgenError, match="event_shape is None, expected a tuple"):
        check_density(shapeless, X)


def test_one_image_is_too_few() -> None:
    with pytest.raises(CondgenError, match="at least two images"):
        check_density(Broken(), X[:1])
