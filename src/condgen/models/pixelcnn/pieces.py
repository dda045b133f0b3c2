"""Backward passes of a batch in pieces, one per thread, and with recomputed activations."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from condgen import machine

Work = Callable[[Tensor, int], Tensor]  # images of a piece and its number


class _InPieces(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, work: Work, size: int, x: Tensor, *parameters: Tensor) -> Tensor:
        pieces = [piece.detach().requires_grad_(x.requires_grad) for piece in x.split(size)]

        def run(number: int) -> Tensor:
            with torch.enable_grad():
                return work(pieces[number], number)

        ctx.outputs = machine.parallel_map(run, range(len(pieces)))
        ctx.pieces, ctx.parameters = pieces, parameters
        return torch.cat([output.detach() for output in ctx.outputs])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        pieces, outputs = ctx.pieces, ctx.outputs
        parts = gradient.split([len(output) for output in outputs])
        trained = [parameter for parameter in ctx.parameters if parameter.requires_grad]
        inputs = [pieces[0]] if pieces[0].requires_grad else []

        def run(number: int) -> Sequence[Tensor | None]:
            with torch.enable_grad():  # activations may be recomputed
                sources = [*([pieces[number]] if inputs else []), *trained]
                return torch.autograd.grad(
                    outputs[number],
                    sources,
                    parts[number],
                    allow_unused=True,
                    retain_graph=bool(inputs),  # attacks take several gradients
                )

        found = machine.parallel_map(run, range(len(outputs)))
        of_x = torch.cat([cast(Tensor, each[0]) for each in found]) if inputs else None
        sums = iter(
            [_sum(column) for column in zip(*(each[len(inputs) :] for each in found), strict=True)]
        )
        of_parameters = [next(sums) if each.requires_grad else None for each in ctx.parameters]
        return None, None, of_x, *of_parameters


def in_pieces(work: Work, x: Tensor, parameters: Sequence[Tensor], size: int) -> Tensor:
    """Apply ``work`` to pieces of a batch and concatenate the results.

    On a CPU the pieces run on the threads of :func:`condgen.machine.parallel_map`, forward and
    backward. Their gradients are summed in the order of the pieces, so that results are the same
    for any number of threads.

    Args:
        work: Function of a piece and its number; differentiable.
        x: The batch.
        parameters: Tensors besides ``x`` that need gradients.
        size: Images of a piece.

    Examples:
        >>> weight = torch.tensor(2.0, requires_grad=True)
        >>> out = in_pieces(lambda piece, _: weight * piece, torch.ones(5), [weight], size=2)
        >>> torch.autograd.grad(out.sum(), weight)
        (tensor(5.),)
    """
    if len(x) <= size or x.device.type != "cpu":
        return work(x, 0)
    return cast(Tensor, _InPieces.apply(work, size, x, *parameters))


class _Recomputed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, work: Callable[..., tuple[Tensor, ...]], number: int, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.work, ctx.parameters = work, tensors[number:]
        ctx.save_for_backward(*tensors[:number])
        ctx.gpu = tensors[0].device if tensors[0].is_cuda else None
        ctx.random_state = ctx.gpu and torch.cuda.get_rng_state(ctx.gpu)
        return work(*tensors[:number])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        inputs = [each.detach().requires_grad_() for each in ctx.saved_tensors]
        with torch.enable_grad(), _dropout_again(ctx.gpu, ctx.random_state):
            outputs = ctx.work(*inputs)
        trained = [each for each in ctx.parameters if each.requires_grad]
        found = torch.autograd.grad(outputs, [*inputs, *trained], gradients, allow_unused=True)
        of_trained = iter(found[len(inputs) :])
        of_parameters = [
            next(of_trained) if each.requires_grad else None for each in ctx.parameters
        ]
        return None, None, *found[: len(inputs)], *of_parameters


@contextmanager
def _dropout_again(gpu: torch.device | None, state: Tensor | None) -> Iterator[None]:
    """Context in which a GPU drops the same activations as when its generator had ``state``.

    On a CPU dropout has generators of its own.
    """
    if gpu is None or state is None:
        yield
        return
    with torch.random.fork_rng([gpu]):
        torch.cuda.set_rng_state(state, gpu)
        yield


def recomputed(
    work: Callable[..., tuple[Tensor, ...]], inputs: Sequence[Tensor], parameters: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """Apply ``work`` to inputs and keep only these for the backward pass, which runs it again.

    Like :func:`torch.utils.checkpoint.checkpoint`, whose inputs a model summary cannot count.

    Args:
        work: Function of the inputs; it must give the same results when it runs again.
        inputs: Activations.
        parameters: Tensors besides the inputs that need gradients.
    """
    return cast(tuple[Tensor, ...], _Recomputed.apply(work, len(inputs), *inputs, *parameters))


def _sum(gradients: Sequence[Tensor | None]) -> Tensor | None:
    """Sum in order; ``None`` counts as zero."""
    total: Tensor | None = None
    for gradient in gradients:
        if gradient is not None:
            total = gradient if total is None else total + gradient
    return total
