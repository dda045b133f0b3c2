"""Model summary: parameters, FLOPs and memory, measured while the model runs."""

import copy
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from condgen import machine
from condgen.density import ClassConditionalDensity


@dataclass(frozen=True)
class ModelSummary:
    """Parts and costs of a model.

    Args:
        parts: Names and values, from :meth:`condgen.ClassConditionalDensity.parts`.
        parameters: Number of parameters.
        likelihood_flops: For log p(x | y) of one image under all classes.
        training_flops: For one image in a training step: forward pass, backward pass and
            recomputation.
        activation_bytes: Stored between forward and backward pass for one image.
    """

    parts: tuple[tuple[str, str], ...]
    parameters: int
    likelihood_flops: int
    training_flops: int
    activation_bytes: int

    def rows(self) -> list[tuple[str, str]]:
        """Names and values as text."""
        return [
            *self.parts,
            ("parameters", f"{self.parameters:,}"),
            ("log p(x | y), all classes", f"{self.likelihood_flops / 1e9:.3f} GFLOP per image"),
            (
                "training step",
                f"{self.training_flops / 1e9:.3f} GFLOP per image, including recomputation",
            ),
            ("stored activations", f"{self.activation_bytes / 2**20:.2f} MiB per image"),
        ]


def summarize(density: ClassConditionalDensity, device: str = "cpu") -> ModelSummary:
    """Measure ``density`` on one image, with the operations of a type of device.

    The density itself is not changed.

    Examples:
        >>> from condgen.models.gaussian import DiagonalGaussian
        >>> summarize(DiagonalGaussian(torch.rand(3, 1, 2, 2))).parameters
        0
    """
    density = copy.deepcopy(density).eval()
    x = (
        next(density.parameters(), torch.zeros(())).new_zeros(1, *density.event_shape)
        + density.bounds[0]
    )
    with density.executed_on(device), machine.alone():
        with density.counted() as recomputes:
            likelihood = _likelihood_flops(density, x)
            training = _training_flops(density, x) + (likelihood if recomputes else 0)
        activation_bytes = _activation_bytes(density, x)
    return ModelSummary(
        parts=tuple(density.parts()),
        parameters=sum(parameter.numel() for parameter in density.parameters()),
        likelihood_flops=likelihood,
        training_flops=training,
        activation_bytes=activation_bytes,
    )


def _likelihood_flops(density: ClassConditionalDensity, x: torch.Tensor) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        density.class_log_prob(x)
    return int(counter.get_total_flops())


def _training_flops(density: ClassConditionalDensity, x: torch.Tensor) -> int:
    with torch.enable_grad(), FlopCounterMode(display=False) as training:
        log_prob = density.class_log_prob(x)
        if log_prob.requires_grad:  # a model without parameters is not trained
            log_prob.sum().backward()
    return int(training.get_total_flops())


def _activation_bytes(density: ClassConditionalDensity, x: torch.Tensor) -> int:
    """Measured in training mode, where products may be in bfloat16.

    FLOPs are counted in evaluation mode because the counter sees only float32 products.
    """
    density.train()
    _saved_bytes(density, x)  # for data-dependent initialization, if the model has any
    return _saved_bytes(density, x.expand(2, *x.shape[1:])) - _saved_bytes(density, x)


def _saved_bytes(density: ClassConditionalDensity, x: torch.Tensor) -> int:
    """Bytes that autograd saves for the backward pass of ``x``."""
    saved: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        graph = density.class_log_prob(x)  # keeps the storages alive, so that addresses are unique
    total = sum(saved.values())
    del graph
    return total
