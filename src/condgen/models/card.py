"""A model card: shapes, parameters, arithmetic and memory of a flow, counted while it runs."""

import copy
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from condgen import machine
from condgen.models.bijections import Compose, level_shapes
from condgen.models.coupling_network import path_of
from condgen.models.glow import Glow


@dataclass(frozen=True)
class Card:
    """What a model is made of.

    Args:
        levels: Shape ``(C, H, W)`` of the blocks' input at each level.
        blocks: Per level.
        width: Of the coupling networks.
        latent: Length of z.
        parameters: How many.
        likelihood_flops: For log p(x | y) of one image under all classes.
        training_flops: For one image in a training step: forward and backward, as executed, with what is recomputed.
        activation_bytes: Kept between forward and backward for one image.
    """

    levels: list[tuple[int, int, int]]
    blocks: int
    width: int
    latent: int
    parameters: int
    likelihood_flops: int
    training_flops: int
    activation_bytes: int

    def rows(self) -> list[tuple[str, str]]:
        """Names and values, in words."""
        shapes = [
            (f"level {depth}", f"{channels} x {height} x {width}, {self.blocks} blocks of width {self.width}")
            for depth, (channels, height, width) in enumerate(self.levels, start=1)
        ]
        return [
            *shapes,
            ("latent vector", f"{self.latent} numbers"),
            ("parameters", f"{self.parameters:,}"),
            ("log p(x | y), all classes", f"{self.likelihood_flops / 1e9:.3f} GFLOP per image"),
            ("training step", f"{self.training_flops / 1e9:.3f} GFLOP per image, with what is recomputed"),
            ("activations kept", f"{self.activation_bytes / 2**20:.2f} MiB per image"),
        ]


def describe(glow: Glow, device: str = "cpu") -> Card:
    """Measure ``glow`` on one image, as a type of device computes it; it is left as it was."""
    with path_of(device):
        return _measured(glow)


def _measured(glow: Glow) -> Card:
    glow = copy.deepcopy(glow).eval()
    channels, height, width = glow.event_shape
    x = torch.zeros(1, channels, height, width)
    with machine.alone(), torch.no_grad(), FlopCounterMode(display=False) as likelihood:
        glow.class_log_prob(x)
    recomputed = [step for step in glow.modules() if isinstance(step, Compose) and step.constant_memory]
    for step in recomputed:  # the counter cannot follow a backward pass inside a backward pass
        step.constant_memory = False
    with machine.alone(), FlopCounterMode(display=False) as training:
        glow.class_log_prob(x).sum().backward()
    for step in recomputed:
        step.constant_memory = True
    glow.train()  # where the products may be in bfloat16; the counter sees only those in evaluation mode
    _saved_bytes(glow, x)  # initialises actnorm
    activation_bytes = _saved_bytes(glow, x.expand(2, -1, -1, -1)) - _saved_bytes(glow, x)
    return Card(
        levels=level_shapes((2 * channels, height, width), len(glow.flow.levels)),
        blocks=glow.blocks,
        width=glow.width,
        latent=glow.prior.dims,
        parameters=sum(parameter.numel() for parameter in glow.parameters()),
        likelihood_flops=likelihood.get_total_flops(),
        training_flops=training.get_total_flops() + (likelihood.get_total_flops() if recomputed else 0),
        activation_bytes=activation_bytes,
    )


def _saved_bytes(glow: Glow, x: torch.Tensor) -> int:
    """Bytes that autograd keeps for ``x``."""
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        alive = glow.class_log_prob(x)
    total = sum(kept.values())
    del alive
    return total
