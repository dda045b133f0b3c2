"""The optimizer: schedule, and errors for non-finite numbers."""

import pytest
import torch

from condgen.config import ExponentialDecay, LinearDecay, StepDecay, Training
from condgen.training.optimizer import Optimizer
from condgen.training.steps import NonFiniteLoss
from tests.training.small import SETTINGS


def test_a_non_finite_gradient_touches_no_parameter() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = Optimizer([("p", parameter)], SETTINGS, steps_per_epoch=1)
    loss = parameter.sqrt().sum()
    loss.backward()
    with pytest.raises(NonFiniteLoss, match="gradient is not finite at step 0"):
        optimizer.update(loss)
    assert (parameter.item(), optimizer.taken) == (0, 0)


def test_the_norm_is_that_before_clipping() -> None:
    parameter = torch.nn.Parameter(torch.zeros(2))
    optimizer = Optimizer([("p", parameter)], Training(clip_norm=0.5), steps_per_epoch=1)
    loss = (parameter * torch.tensor([3.0, 4.0])).sum()
    loss.backward()
    assert optimizer.update(loss).item() == pytest.approx(5)
    assert parameter.grad is not None
    assert parameter.grad.norm().item() == pytest.approx(0.5, rel=1e-4)


def test_learning_rate_warms_up_and_decays_in_steps() -> None:
    settings = Training(
        learning_rate=1.0, warm_up_steps=4, decay=StepDecay(factor=0.1, every_epochs=2)
    )
    optimizer = Optimizer([("p", torch.nn.Parameter(torch.zeros(1)))], settings, steps_per_epoch=5)
    rates = []
    for taken in (0, 3, 9, 10, 20):
        optimizer.taken = taken
        rates.append(optimizer.learning_rate)
    assert rates == pytest.approx([0.25, 1.0, 1.0, 0.1, 0.01])


def test_linear_decay_ends_at_zero_whichever_setting_ends_training() -> None:
    for length in ({"epochs": 4}, {"epochs": 9, "max_steps": 20}):
        settings = Training(learning_rate=1.0, warm_up_steps=0, decay=LinearDecay(), **length)
        optimizer = Optimizer(
            [("p", torch.nn.Parameter(torch.zeros(1)))], settings, steps_per_epoch=5
        )
        rates = []
        for taken in (0, 10, 19, 20):
            optimizer.taken = taken
            rates.append(optimizer.learning_rate)
        assert rates == pytest.approx([1.0, 0.5, 0.05, 0.0])


def test_exponential_decay_is_per_step_and_the_betas_reach_adam() -> None:
    settings = Training(
        learning_rate=1.0, warm_up_steps=0, decay=ExponentialDecay(factor=0.9), beta2=0.9995
    )
    optimizer = Optimizer([("p", torch.nn.Parameter(torch.zeros(1)))], settings, steps_per_epoch=5)
    optimizer.taken = 7
    assert optimizer.learning_rate == pytest.approx(0.9**7)
    assert optimizer.adam.defaults["betas"] == (0.9, 0.9995)
