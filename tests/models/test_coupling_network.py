"""The blocked CPU path against plain convolutions."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from condgen import machine
from condgen.models.glow import blocked, coupling_network, products
from condgen.models.glow.coupling_network import CouplingNetwork, convolutions
from tests.conftest import shaken

SHAPES = [(1, 1, 4, 8, 8), (5, 2, 4, 6, 10), (3, 8, 16, 4, 4), (2, 1, 2, 1, 1)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("block", [1, 8 * 7 * 5, 1 << 22])
def test_value_and_gradients_equal_plain_convolutions(
    shape: tuple[int, int, int, int, int], block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocked, "BLOCK_BYTES", block)
    number, channels_in, channels_out, height, width = shape
    network = shaken(CouplingNetwork(channels_in, channels_out, width=7)).double()
    parameters = list(network.parameters())
    x = torch.randn(number, channels_in, height, width, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(number, channels_out, height, width, dtype=torch.float64)
    *convolved, log_gain = [*parameters[1:], parameters[0]]
    ours, plain = network(x), convolutions(x, *convolved) * (3 * log_gain).exp()
    torch.testing.assert_close(ours, plain, rtol=1e-12, atol=1e-12)
    of_ours = torch.autograd.grad((ours * weight).sum(), [x, *parameters])
    of_plain = torch.autograd.grad((plain * weight).sum(), [x, *parameters])
    for gradient, expected in zip(of_ours, of_plain, strict=True):
        torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-10)
    # Frozen weights: fewer stored activations, recomputed in backward.
    (of_image,) = torch.autograd.grad((network.requires_grad_(False)(x) * weight).sum(), [x])
    torch.testing.assert_close(of_image, of_plain[0], rtol=1e-10, atol=1e-10)


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocked, "BLOCK_BYTES", 4 * 7 * 3 * 5 * 5)
    network = shaken(CouplingNetwork(2, 4, width=7))
    x = torch.randn(11, 2, 5, 5, requires_grad=True)

    def value_and_gradients() -> list[torch.Tensor]:
        out = network(x)
        return [out, *torch.autograd.grad(out.square().sum(), [x, *network.parameters()])]

    expected = value_and_gradients()
    with ThreadPoolExecutor(3) as workers:
        monkeypatch.setattr(machine, "_workers", workers)
        monkeypatch.setattr(machine, "_helpers", 3)
        found = value_and_gradients()
        with torch.inference_mode():
            found.append(network(x))
    for one, other in zip(found, [*expected, expected[0]], strict=True):
        assert torch.equal(one, other)


def test_bfloat16_is_as_close_to_float32_as_plain_convolutions_in_bfloat16_are() -> None:
    """Several draws are summed.

    Plain convolutions are sometimes exact by chance on four numbers, such as the gains' gradient.
    """
    network, generator = (
        shaken(CouplingNetwork(2, 4, width=32, precision=torch.bfloat16)),
        torch.Generator().manual_seed(0),
    )
    *convolved, log_gain = [*list(network.parameters())[1:], network.log_gain]

    def errors() -> list[tuple[torch.Tensor, torch.Tensor]]:
        x = torch.randn(8, 2, 16, 16, generator=generator).requires_grad_()
        weight = torch.randn(8, 4, 16, 16, generator=generator)

        def value_and_gradients(out: torch.Tensor) -> list[torch.Tensor]:
            return [out, *torch.autograd.grad((out * weight).sum(), [x, *network.parameters()])]

        exact = value_and_gradients(convolutions(x, *convolved) * (3 * log_gain).exp())
        with torch.autocast("cpu", torch.bfloat16):
            plain = convolutions(x, *convolved).float() * (3 * log_gain).exp()
        found = zip(value_and_gradients(network(x)), value_and_gradients(plain), exact, strict=True)
        return [
            ((ours - expected).square().sum(), (theirs - expected).square().sum())
            for ours, theirs, expected in found
        ]

    assert network(torch.rand(1, 2, 4, 4)).dtype == torch.float32
    for of_draws in zip(*(errors() for _ in range(8)), strict=True):
        ours, theirs = map(sum, zip(*of_draws, strict=True))
        assert ours < 4 * theirs  # squared errors: at most twice the error


@pytest.mark.parametrize("blocked_on", [("cpu",), ()], ids=["blocked", "library"])
def test_bfloat16_sees_differences_of_pixels_that_rounding_them_would_drown(
    blocked_on: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coupling_network, "BLOCKED_ON", blocked_on)
    network = CouplingNetwork(1, 1, width=1, precision=torch.bfloat16)
    for layer in (network.first, network.middle, network.last):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
        layer.weight.data[..., layer.kernel_size[0] // 2, layer.kernel_size[1] // 2] = 1.0
    network.first.weight.data[0, 0, 1, 0] = -1.0  # ReLU of a pixel minus its left neighbor
    x = (64 + 0.1 * torch.rand(3, 1, 5, 5)).requires_grad_()
    out, exact = network(x), network.eval()(x)
    torch.testing.assert_close(out, exact, rtol=2**-7, atol=1e-3)
    weights, parameters = torch.rand_like(out), [x, *network.parameters()]
    of_out, of_exact = (
        torch.autograd.grad((it * weights).sum(), parameters) for it in (out, exact)
    )
    for found, expected in zip(of_out, of_exact, strict=True):
        torch.testing.assert_close(found, expected, rtol=2**-6, atol=1e-2)


@pytest.mark.parametrize("blocked_on", [("cpu",), ()], ids=["blocked", "library"])
@pytest.mark.parametrize("precision", [None, torch.bfloat16], ids=str)
def test_frozen_weights_give_what_forward_gives(
    precision: torch.dtype | None, blocked_on: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coupling_network, "BLOCKED_ON", blocked_on)
    network, x = (
        shaken(CouplingNetwork(2, 4, width=32, precision=precision)),
        torch.randn(8, 2, 6, 6),
    )
    with torch.no_grad():
        exact = network.eval()(x)
        torch.testing.assert_close(network.precompute()(x), exact)
        usual = (network.train()(x) - exact).norm()  # rounded products in training mode only
        assert (network.precompute()(x) - exact).norm() <= 1.5 * usual + 1e-6 * exact.norm()


def test_without_units_for_bfloat16_the_products_are_those_that_units_would_give(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(products, "_has_bfloat16", lambda: False)
    left, right, bias = (torch.randn(*shape).bfloat16() for shape in ((50, 300), (300, 20), (20,)))
    exact = left.double() @ right.double()
    torch.testing.assert_close(
        products.product(left, right), exact.bfloat16(), rtol=2**-7, atol=1e-3
    )
    one_layer = products.linear_relu(left, right.t(), bias)
    torch.testing.assert_close(one_layer, (exact + bias).relu().bfloat16(), rtol=2**-7, atol=1e-3)
    near = (products.product(left, right) == exact.bfloat16()).double().mean()
    assert near > 0.99  # last bits of the float32 sums rarely change the rounding to bfloat16


def test_a_second_derivative_is_refused() -> None:
    network, x = shaken(CouplingNetwork(1, 2, width=4)), torch.randn(1, 1, 3, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()
