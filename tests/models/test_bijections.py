"""Every bijection: round trip, and log-determinant against autograd, in float64."""

import pytest
import torch
from torch.autograd.functional import jacobian

from condgen.models.first_batch import SMALLEST_STD
from condgen.models.glow.actnorm import ActNorm
from condgen.models.glow.bijections import (
    Compose,
    MultiScale,
    Squeeze,
    channels_first,
    images_first,
)
from condgen.models.glow.convolution import Invertible1x1Convolution
from condgen.models.glow.coupling import AffineCoupling
from tests.conftest import shaken

SHAPE = (4, 4, 4)


def make(name: str) -> torch.nn.Module:
    bijections = {
        "squeeze": lambda: Squeeze(),
        "actnorm": lambda: ActNorm(4),
        "convolution": lambda: Invertible1x1Convolution(4),
        "coupling": lambda: AffineCoupling(4, width=6),
        "compose": lambda: Compose(
            [ActNorm(4), Invertible1x1Convolution(4), AffineCoupling(4, width=6)]
        ),
        "multi-scale": lambda: MultiScale(
            [
                Compose([Invertible1x1Convolution(c), AffineCoupling(c, width=6)])
                for c in (4, 8, 16)
            ],
            SHAPE,
        ),
    }
    return shaken(bijections[name]()).double().eval()


NAMES = ["squeeze", "actnorm", "convolution", "coupling", "compose", "multi-scale"]


@pytest.mark.parametrize("name", NAMES)
def test_inverse_undoes_forward(name: str) -> None:
    bijection, x = make(name), torch.randn(3, *SHAPE, dtype=torch.float64)
    z, log_det = bijection(x)
    back, log_det_back = bijection.inverse(z)
    torch.testing.assert_close(back, x, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(log_det_back, -log_det, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_forward_undoes_inverse(name: str) -> None:
    bijection, x = make(name), torch.randn(3, *SHAPE, dtype=torch.float64)
    z = torch.randn_like(bijection(x)[0])
    torch.testing.assert_close(bijection(bijection.inverse(z)[0])[0], z, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_log_det_is_that_of_the_jacobian(name: str) -> None:
    bijection, x = make(name), torch.randn(1, *SHAPE, dtype=torch.float64)
    _, log_det = bijection(x)
    matrix = jacobian(lambda v: bijection(v.view(1, *SHAPE))[0].flatten(), x.flatten())
    torch.testing.assert_close(
        log_det[0], torch.linalg.slogdet(matrix).logabsdet, rtol=1e-9, atol=1e-9
    )


def test_actnorm_normalizes_the_first_batch_once() -> None:
    actnorm = ActNorm(3).train()
    first = 5 + 2 * torch.randn(64, 3, 4, 4)
    z, _ = actnorm(first)
    torch.testing.assert_close(z.std((0, 2, 3), correction=0), torch.ones(3))
    torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    before = actnorm.shift.clone()
    actnorm(torch.randn(64, 3, 4, 4))
    assert torch.equal(actnorm.shift, before)


def test_actnorm_does_not_initialize_again_after_loading() -> None:
    actnorm, loaded = ActNorm(3).train(), ActNorm(3).train()
    actnorm(5 + torch.randn(64, 3, 4, 4))
    loaded.load_state_dict(actnorm.state_dict())
    loaded(torch.randn(64, 3, 4, 4))
    assert torch.equal(loaded.shift, actnorm.shift)


def test_actnorm_survives_a_constant_channel() -> None:
    actnorm, x = ActNorm(2).train(), torch.randn(16, 2, 4, 4)
    x[:, 1] = 0.25
    z, log_det = actnorm(x)
    assert torch.isfinite(z).all()
    assert (
        log_det[0]
        <= 16 * (actnorm.log_scale[0].item() - torch.log(torch.tensor(SMALLEST_STD))) + 1e-3
    )


def test_convolution_inverts_float32_as_exactly_as_float64_with_spread_scales() -> None:
    convolution = Invertible1x1Convolution(12)
    with torch.no_grad():
        convolution.log_scale.copy_(torch.linspace(-6, 6, 12))
    z = torch.randn(2, 12, 4, 4)
    x, _ = convolution.inverse(z)
    exact = torch.linalg.solve(convolution.double().weight(), z.double().flatten(2)).view_as(z)
    assert ((x - exact).norm() / exact.norm()).item() < 1e-6


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("number", [0, 1, 3])
def test_a_frozen_map_is_forward_without_a_graph(name: str, number: int) -> None:
    bijection, x = make(name), torch.randn(number, *SHAPE, dtype=torch.float64)
    z, log_det = bijection(x)
    frozen_z, frozen_log_det = bijection.precompute()(x)
    torch.testing.assert_close(frozen_z, z, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(frozen_log_det.expand(number), log_det, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_a_frozen_map_leaves_its_input_and_the_next_call_alone(name: str) -> None:
    bijection, x = make(name), torch.randn(3, *SHAPE, dtype=torch.float64)
    before, frozen = x.clone(), bijection.precompute()
    first = frozen(x)[0].clone()
    assert torch.equal(x, before)
    assert torch.equal(frozen(x)[0], first)


def test_steps_keep_the_images_innermost() -> None:
    """Another memory layout gives the same numbers with strided copies, several times slower."""
    x = images_first(torch.randn(*SHAPE, 5, dtype=torch.float64))
    for name in NAMES[:-1]:
        assert channels_first(make(name)(x)[0]).is_contiguous(), name
        assert channels_first(make(name).precompute()(x)[0]).is_contiguous(), name
