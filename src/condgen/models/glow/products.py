"""Matrix products of a coupling network on a CPU, in float32 or bfloat16."""

from functools import cache

import torch
from torch import Tensor


def split_precision(x: Tensor, precision: torch.dtype) -> tuple[Tensor, ...]:
    """Input of the first layer: ``x`` rounded to a lower ``precision``, and the rounding error.

    Both parts have the same weights, so the layer sees their sum. Only the first part has
    gradients. A coupling can predict a pixel to a small fraction of a level, but not from rounded
    inputs: that rounding costs more likelihood than all other rounding together.
    """
    if precision == x.dtype:
        return (x,)
    rounded = x.to(precision)
    return rounded, (x - rounded).detach().to(precision)


def repeat_for_split(w1: Tensor, precision: torch.dtype) -> Tensor:
    """First-layer weights for the parts of :func:`split_precision`."""
    return w1 if precision == w1.dtype else torch.cat((w1, w1.detach()), 1)


def linear_relu(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """ReLU of a linear layer; for bfloat16 oneDNN fuses both, which takes half of the time."""
    if rows.dtype == torch.bfloat16 and _has_bfloat16():
        fused: Tensor = torch.ops.mkldnn._linear_pointwise(
            rows.contiguous(), weight, bias, "relu", [], ""
        )
        return fused
    if rows.dtype == torch.bfloat16:
        return linear_relu(
            rows.float(), weight.float(), None if bias is None else bias.float()
        ).bfloat16()
    return (
        torch.mm(rows, weight.t()) if bias is None else torch.addmm(bias, rows, weight.t())
    ).relu_()


def product(left: Tensor, right: Tensor, out: Tensor | None = None) -> Tensor:
    """Matrix product; bfloat16 is emulated on CPUs without bfloat16 units.

    The emulation accumulates products of rounded numbers in float32, like the units do, at nearly
    the speed of float32.
    """
    if left.dtype != torch.bfloat16 or _has_bfloat16():
        return torch.mm(left, right, out=out)
    product = (left.float() @ right.float()).bfloat16()
    return product if out is None else out.copy_(product)


def where_positive(gradient: Tensor, activation: Tensor) -> Tensor:
    """Gradient of a ReLU, in place.

    A bfloat16 is positive if and only if its bits are as an integer, and int16 takes a quarter of
    the time.
    """
    if gradient.dtype == torch.bfloat16:
        where_positive(gradient.view(torch.int16), activation.view(torch.int16))
        return gradient
    masked: Tensor = torch.ops.aten.threshold_backward.grad_input(
        gradient, activation, 0, grad_input=gradient
    )
    return masked


@cache
def _has_bfloat16() -> bool:
    """Whether oneDNN supports bfloat16 products.

    On CPUs without AVX-512 the oneDNN calls fail and the PyTorch products are very slow.
    """
    return bool(
        torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )
