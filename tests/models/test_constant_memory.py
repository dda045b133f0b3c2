"""Backward through the inverse: same gradients, memory independent of depth."""

import pytest
import torch

from condgen.models.glow import Glow
from condgen.models.glow.priors import ClassMixture
from tests.conftest import shaken


def pair(precision: torch.dtype, blocks: int = 6) -> list[Glow]:
    settings = {
        "event_shape": (1, 8, 8),
        "pixel_levels": 256,
        "levels": 3,
        "blocks": blocks,
        "width": 8,
    }
    models = [
        Glow(ClassMixture(3, 128), **settings, constant_memory=constant)
        for constant in (False, True)
    ]
    shaken(models[0], strength=0.05)
    models[1].load_state_dict(models[0].state_dict())
    return [model.to(precision).eval() for model in models]


def gradients(glow: Glow, x: torch.Tensor) -> list[torch.Tensor]:
    return list(
        torch.autograd.grad(glow.class_log_prob(x).logsumexp(1).sum(), [x, *glow.parameters()])
    )


@pytest.mark.parametrize(
    ("precision", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 1e-3)], ids=str
)
def test_gradients_equal_those_of_stored_activations(
    precision: torch.dtype, tolerance: float
) -> None:
    x = torch.rand(4, 1, 8, 8, dtype=precision, requires_grad=True)
    for stored, recomputed in zip(*(gradients(model, x) for model in pair(precision)), strict=True):
        assert ((stored - recomputed).norm() / stored.norm().clamp_min(1e-12)).item() < tolerance


def saved_bytes(glow: Glow) -> int:
    """Bytes that autograd stores between forward and backward, without parameters."""
    own = {parameter.data_ptr() for parameter in glow.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = glow.class_log_prob(torch.rand(16, 1, 8, 8)).sum()
    del loss
    return sum(kept.values())


def test_what_is_kept_does_not_grow_with_depth() -> None:
    shallow, deep = (pair(torch.float32, blocks)[1] for blocks in (3, 12))
    assert saved_bytes(deep) < 1.05 * saved_bytes(shallow)
    plain_shallow, plain_deep = (pair(torch.float32, blocks)[0] for blocks in (3, 12))
    assert saved_bytes(plain_deep) > 2 * saved_bytes(plain_shallow)


def test_a_first_batch_initializes_actnorm_all_the_same() -> None:
    models = pair(torch.float64)
    for model in models:
        for module in model.modules():
            if hasattr(module, "initialized"):
                module.initialized.fill_(False)
    x = torch.rand(8, 1, 8, 8, dtype=torch.float64)
    for model in models:
        model.train()
        with model.fresh_noise(torch.Generator().manual_seed(0)):
            model.class_log_prob(x).sum().backward()
    for (name, first), second in zip(
        models[0].named_parameters(), models[1].parameters(), strict=True
    ):
        torch.testing.assert_close(first, second, msg=name)
        torch.testing.assert_close(first.grad, second.grad, rtol=1e-6, atol=1e-8, msg=name)


def test_weights_changed_before_the_backward_pass_are_an_error() -> None:
    for glow in pair(torch.float32):
        value = glow.class_log_prob(torch.rand(2, 1, 8, 8)).sum()
        with torch.no_grad():
            for parameter in glow.parameters():
                parameter.add_(0.5)
        with pytest.raises(RuntimeError, match="inplace"):
            value.backward()
