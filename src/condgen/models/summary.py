"""A model summary: parameters, arithmetic and memory, counted while the model runs."""

import copy
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from condgen import machine
from condgen.density import ClassConditionalDensity


@dataclass(frozen=True)
class ModelSummary:
    """What a model is made of and what it costs.

    Args:
        parts: Names and values, from :meth:`condgen.ClassConditionalDensity.parts`.
        parameters: How many.
        likelihood_flops: For log p(x | y) of one image under all classes.
        training_flops: For one image in a training step: forward and backward, with what is recomputed.
        activation_bytes: Kept between forward and backward for one image.
    """

    parts: tuple[tuple[str, str], ...]
    parameters: int
    likelihood_flops: int
    training_flops: int
    activation_bytes: int

    def rows(self) -> list[tuple[str, str]]:
        """Names and values, in words."""
        return [
            *self.parts,
            ("parameters", f"{self.parameters:,}"),
            ("log p(x | y), all classes", f"{self.likelihood_flops / 1e9:.3f} GFLOP per image"),
            (
                "training step",
                f"{self.training_flops / 1e9:.3f} GFLOP per image, with what is recomputed",
            ),
            ("activations kept", f"{self.activation_bytes / 2**20:.2f} MiB per image"),
        ]


def summarize(density: ClassConditionalDensity, device: str = "cpu") -> ModelSummary:
    """Measure ``density`` on one image, as a type of device computes it; it is left as it was.

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
    """In training mode, where products may be in bfloat16: the counter of operations sees only those in float32."""
    density.train()
    _saved_bytes(density, x)  # initializes what starts from its first batch
    return _saved_bytes(density, x.expand(2, *x.shape[1:])) - _saved_bytes(density, x)


def _saved_bytes(density: ClassConditionalDensity, x: torch.Tensor) -> int:
    """Bytes that autograd keeps for ``x``."""
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        alive = density.class_log_prob(x)
    total = sum(kept.values())
    del alive
    return total
