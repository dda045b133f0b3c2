"""Memory of a pass through a model, measured on a few images."""

import copy
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from condgen import machine, processes
from condgen.density import ClassConditionalDensity

FEW, MORE = 4, 8  # images on which memory is measured
ALLOCATED = 1.25  # bytes of the process for a byte of tensors: allocators leave gaps
OUTSIDE = 64 << 20  # bytes of libraries besides tensors
# operations that copy their operands to a layout of their own
COPYING = (torch.ops.aten.convolution, torch.ops.aten.convolution_backward)
BOUND = 4  # a step's memory is below so many times that of a forward pass
OPTIMIZER = 3  # numbers per parameter: Adam's moments and a temporary


@dataclass(frozen=True)
class Memory:
    """Memory that a pass through a model needs besides its weights, estimated.

    Args:
        fixed: Bytes for any number of images.
        per_image: Bytes for each image.
    """

    fixed: int
    per_image: int

    def of(self, images: int) -> int:
        """Bytes for this number of images."""
        return self.fixed + images * self.per_image


def training_memory(density: ClassConditionalDensity) -> Memory:
    """Memory of a training step: gradients, Adam's moments and everything stored in between.

    The density itself is not changed. Measured peaks of steps that need 200 MiB or more were
    between 0.8 and 1.05 times this for Glow and PixelCNN++, and up to 1.35 times for PixelCNN++
    with recomputation.

    Examples:
        >>> from condgen.models.gaussian import DiagonalGaussian
        >>> training_memory(DiagonalGaussian(torch.rand(3, 1, 2, 2))).of(64) > 64 * 3 * 4 * 4
        True
    """
    trained = [each for each in density.parameters() if each.requires_grad]
    optimizer = OPTIMIZER * sum(each.numel() * each.element_size() for each in trained)
    return _measured(copy.deepcopy(density).train(), _step, optimizer)


def rough_bound(density: ClassConditionalDensity) -> Memory:
    """An upper bound of :func:`training_memory`, from one forward pass of one image."""
    density = copy.deepcopy(density).train()
    first = next(density.parameters(), torch.zeros(()))
    image = first.new_zeros(1, *density.event_shape, requires_grad=False) + density.bounds[0]
    gpu = [first.device] if first.is_cuda else []
    with machine.alone(), processes.alone(), torch.random.fork_rng(gpu):
        one = _peak(density, _forward, image)
    return Memory(OUTSIDE, BOUND * one)


def gradient_memory(density: ClassConditionalDensity) -> Memory:
    """Memory of a likelihood and its gradient with respect to the images, as attacks use them."""
    return _measured(copy.deepcopy(density).eval().requires_grad_(False), _attack, 0)


def _forward(density: ClassConditionalDensity, x: Tensor) -> None:
    with torch.enable_grad():
        density.class_log_prob(x)


def _step(density: ClassConditionalDensity, x: Tensor) -> None:
    log_prob = density.class_log_prob(x)
    if log_prob.requires_grad:
        log_prob.sum().backward()


def _attack(density: ClassConditionalDensity, x: Tensor) -> None:
    density.class_log_prob(x.clone().requires_grad_()).sum().backward()


def _measured(
    density: ClassConditionalDensity,
    run: Callable[[ClassConditionalDensity, Tensor], None],
    more: int,
) -> Memory:
    first = next(density.parameters(), torch.zeros(()))
    image = first.new_zeros(1, *density.event_shape, requires_grad=False) + density.bounds[0]
    gpu = [first.device] if first.is_cuda else []
    with (
        machine.alone(),
        processes.alone(),
        torch.random.fork_rng(gpu),
        torch.enable_grad(),
    ):
        density.class_log_prob(image)  # for data-dependent initialization, if the model has any
        few, many = (
            _peak(density, run, image.repeat(number, *[1] * len(density.event_shape)))
            for number in (FEW, MORE)
        )
    per_image = max(0, many - few) / (MORE - FEW)
    fixed = max(0.0, few - FEW * per_image) + more
    return Memory(int(ALLOCATED * fixed) + OUTSIDE, int(ALLOCATED * per_image))


def _peak(
    density: ClassConditionalDensity,
    run: Callable[[ClassConditionalDensity, Tensor], None],
    x: Tensor,
) -> int:
    density.zero_grad(set_to_none=True)
    counted = _Peak()
    with counted:
        run(density, x)
    return counted.peak


class _Peak(TorchDispatchMode):
    """Counts the bytes of all tensors that operations in this context make, at their most.

    Only of this thread. Memory that an operation uses internally is not seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.peak = 0
        self._held: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        made = [each for each in tree_leaves(result) if isinstance(each, Tensor)]
        for tensor in made:
            self._hold(tensor.untyped_storage())
        if getattr(func, "overloadpacket", None) in COPYING:
            given = [each for each in tree_leaves(args) if isinstance(each, Tensor)]
            copied = sum(each.untyped_storage().nbytes() for each in [*given, *made])
            self.peak = max(self.peak, self.now + copied)
        return result

    def _hold(self, storage: torch.UntypedStorage) -> None:
        key, size = id(storage), storage.nbytes()
        if key in self._held:
            return

        def release(_: object) -> None:
            del self._held[key]
            self.now -= size

        self._held[key] = weakref.ref(storage, release)
        self.now += size
        self.peak = max(self.peak, self.now)
