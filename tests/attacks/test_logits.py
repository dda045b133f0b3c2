"""The logits for other libraries agree with classifier and detector on each image."""

import math
from dataclasses import dataclass

import pytest
import torch

from condgen import LikelihoodThreshold, Prediction
from condgen.attacks import Logits
from condgen.detectors import flagged
from tests.attacks.models import images, two_gaussians


@dataclass(frozen=True)
class Bits:
    """A user-defined detector that may accept or flag every image."""

    threshold: float

    def score(self, prediction: Prediction) -> torch.Tensor:
        return prediction.bits_per_dim


def test_without_a_detector_the_columns_are_the_log_joint() -> None:
    x, _ = images()
    classifier = two_gaussians()
    assert torch.equal(Logits(classifier)(x), classifier(x).log_joint)


@pytest.mark.parametrize("threshold", [-math.inf, -1.0, 0.0, 8.0, math.inf])
@pytest.mark.parametrize("weight", [None, 1e-9, 1.0, 1e9])
def test_the_last_column_wins_exactly_where_an_image_is_flagged(
    threshold: float, weight: float | None
) -> None:
    x, _ = images(64, spread=0.3)
    classifier, detector = two_gaussians(), Bits(threshold)
    prediction = classifier(x)
    label = torch.where(flagged(detector, prediction), 2, prediction.label)
    columns = Logits(classifier, detector, weight)(x)
    assert torch.equal(columns.argmax(1), label)
    assert not columns.isnan().any()


def test_a_threshold_at_an_images_own_score_accepts_it_and_one_below_flags_it() -> None:
    x, _ = images(1)
    classifier = two_gaussians()
    bits = classifier(x).bits_per_dim
    below = bits.nextafter(torch.tensor(-math.inf))
    for threshold, label in ((bits.item(), 0), (below.item(), 2)):
        assert Logits(classifier, LikelihoodThreshold(threshold))(x).argmax(1).item() == label


@pytest.mark.parametrize("threshold", [7.0, 9.0])
def test_the_excess_is_that_of_bits_per_dim_in_nats(threshold: float) -> None:
    x, _ = images(3)
    classifier = two_gaussians()
    columns = Logits(classifier, LikelihoodThreshold(threshold))(x)
    excess, nats = columns[:, -1] - columns[:, :-1].amax(1), threshold * 16 * math.log(2)
    assert torch.allclose(excess, -classifier(x).log_marginal - nats, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("weight", [1e-16, 1.0])
def test_the_last_column_has_the_gradient_of_the_score_even_where_it_is_lifted(
    weight: float,
) -> None:
    x, _ = images(3)
    classifier = two_gaussians().double()
    x = x.double().requires_grad_()
    columns = Logits(classifier, LikelihoodThreshold(7.0), weight)(x)
    (found,) = torch.autograd.grad((columns[:, -1] - columns[:, :-1].amax(1).detach()).sum(), x)
    (expected,) = torch.autograd.grad(
        (weight * classifier(x).bits_per_dim + classifier(x).log_joint.amax(1)).sum(), x
    )
    assert torch.allclose(found, expected)
