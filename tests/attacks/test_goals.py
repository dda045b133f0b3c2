"""Goals: one criterion, log-likelihoods instead of logits, errors that name the image."""

import math

import pytest
import torch

from condgen import CondgenError, LikelihoodThreshold, Prediction
from condgen.attacks import Evade, Misclassify, Target
from condgen.attacks.goals import reached

LOG_PROB = torch.tensor([[-900.0, -905.0, -907.0], [-950.0, -940.0, -960.0]])


def prediction(shift: float = 0.0) -> Prediction:
    return Prediction(LOG_PROB + shift, torch.full((3,), -math.log(3)), dims=64)


def test_margins_are_gaps_between_columns_and_never_with_a_mask_of_zero() -> None:
    label = torch.tensor([0, 0])
    assert torch.allclose(Misclassify(label).margins(prediction()), torch.tensor([[5.0], [-10.0]]))
    assert torch.allclose(
        Target(torch.tensor([2, 1]), label).margins(prediction()), torch.tensor([[7.0], [-10.0]])
    )
    assert reached(Misclassify(label).margins(prediction())).tolist() == [False, True]


def test_a_constant_on_all_columns_changes_nothing() -> None:
    goal = Misclassify(torch.tensor([0, 1]))
    assert torch.equal(goal.margins(prediction()), goal.margins(prediction(512.0)))


@pytest.mark.parametrize("excess", [-0.1, 0.1])
def test_evading_needs_the_goal_and_the_detector(excess: float) -> None:
    bits = prediction().bits_per_dim[1].item()
    detector = LikelihoodThreshold(bits - excess)
    goal = Evade(Misclassify(torch.tensor([0, 0])), detector, weight=2.0)
    margins = goal.margins(prediction())
    assert margins[1].tolist() == pytest.approx([-10.0, 2 * excess], abs=1e-4)
    assert reached(margins).tolist() == [False, excess < 0]


def test_the_rule_of_the_goal_is_that_of_label_and_detector() -> None:
    random = torch.Generator().manual_seed(0)
    made = Prediction(100 * torch.randn(500, 4, generator=random), torch.zeros(4), dims=10)
    label, detector = torch.randint(4, (500,), generator=random), LikelihoodThreshold(-2.0)
    expected = (made.label != label) & (made.bits_per_dim <= -2.0)
    assert torch.equal(reached(Evade(Misclassify(label), detector).margins(made)), expected)


def test_nan_reaches_nothing() -> None:
    assert not reached(torch.tensor([[math.nan], [math.nan]])).any()


def test_a_part_of_a_goal_is_a_goal() -> None:
    goal = Evade(Target(torch.tensor([1, 2]), torch.tensor([0, 0])), LikelihoodThreshold(1.0))[
        torch.tensor([1])
    ]
    assert goal.goal.target.tolist() == [2]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: Target(torch.tensor([1, 2]), torch.tensor([0, 2])),
            "image 1: target 2 is its true label",
        ),
        (lambda: Target(torch.tensor([1]), torch.tensor([0, 2])), "1 targets for 2 labels"),
        (lambda: Target(torch.tensor([1, 1, 1]), torch.tensor([0, 2])), "3 targets for 2 labels"),
        (lambda: Misclassify(torch.tensor([0, 3])).check(3, 2), "labels run from 0 to 3"),
        (lambda: Misclassify(torch.tensor([0, -1])).check(3, 2), "labels run from -1 to 0"),
        (lambda: Misclassify(torch.tensor([0])).check(3, 2), "1 labels for 2 images"),
        (lambda: Misclassify(torch.tensor([0.0])).check(3, 1), "expected a vector of integers"),
        (
            lambda: Evade(Misclassify(torch.tensor([0])), LikelihoodThreshold(1.0), weight=-1.0),
            "expected a positive number",
        ),
    ],
)
def test_a_goal_that_makes_no_sense_is_refused(make, said: str) -> None:
    with pytest.raises(CondgenError, match=said):
        make()
