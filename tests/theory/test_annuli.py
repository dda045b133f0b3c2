"""p and q as densities: exact samples, exact values, optional slope."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from condgen.classifier import GenerativeClassifier
from condgen.detectors import LikelihoodThreshold, flagged
from condgen.errors import CondgenError
from condgen.testing import check_density
from condgen.theory import Counterexample, counterexample
from condgen.theory.annuli import Annuli, data_density, model_density, move_into_ball

REAL = counterexample(0.1, 0.01, 0.5)
SMALL = Counterexample(1.0, 0.3, 0.5, 2, math.log(0.6), math.log(0.3))


def drawn(density: Annuli, number: int = 4000, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    label = torch.arange(2).repeat(number // 2)
    return density.sample(label, generator=generator), label


def share_within(radius: float, parts: list[tuple[float, float, float]], d: int) -> float:
    """Probability of the ball of this radius for a mixture of annuli (weight, inner, outer)."""
    return sum(w * (min(max(radius, a), b) ** d - a**d) / (b**d - a**d) for w, a, b in parts)


@pytest.mark.parametrize("example", [SMALL, REAL], ids=lambda example: f"d={example.dimension}")
@pytest.mark.parametrize("make", [data_density, model_density], ids=lambda make: make.__name__)
def test_radii_of_samples_are_distributed_as_the_volumes_say(make, example: Counterexample) -> None:
    x, label = drawn(make(example))
    edge, first, second = 1 + example.radius, example.lambda_1, example.lambda_2
    class_0 = [(1, 0, edge)] if make is model_density else [(first, 0, 1), (1 - first, 1, edge)]
    class_1 = [(second, 0, 1), (1 - second, 2, 3)]
    for y, parts in enumerate((class_0, class_1)):
        radii = x[label == y].norm(dim=1).numpy()
        found = kstest(
            radii,
            lambda r, parts=parts: np.array([share_within(v, parts, example.dimension) for v in r]),
        )
        assert found.pvalue > 0.01


def test_samples_have_no_favourite_direction() -> None:
    x, _ = drawn(data_density(REAL), 40_000)
    direction = x / x.norm(dim=1, keepdim=True)
    assert direction.mean(0).abs().max() < 5 / math.sqrt(35 * len(x))
    torch.testing.assert_close(
        direction.T @ direction / len(x), torch.eye(35, dtype=torch.float64) / 35, atol=1e-3, rtol=0
    )


@pytest.mark.parametrize("make", [data_density, model_density], ids=lambda make: make.__name__)
def test_a_density_in_the_plane_integrates_to_one(make) -> None:
    density = make(SMALL)
    edges = torch.linspace(-3, 3, 601, dtype=torch.float64)
    middles = (edges[1:] + edges[:-1]) / 2
    grid = torch.cartesian_prod(middles, middles)
    torch.testing.assert_close(
        density.class_log_prob(grid).exp().sum(0) * 0.01**2,
        torch.ones(2).double(),
        atol=4e-3,
        rtol=0,
    )


@pytest.mark.parametrize("example", [SMALL, REAL], ids=lambda example: f"d={example.dimension}")
@pytest.mark.parametrize("make", [data_density, model_density], ids=lambda make: make.__name__)
def test_the_densities_keep_every_promise_of_a_model(make, example: Counterexample) -> None:
    density = make(example)
    assert not [
        check.name
        for check in check_density(density, drawn(density, 20)[0])
        if check.passed is False
    ]


def test_an_edge_width_changes_the_gradient_and_nothing_else() -> None:
    exact, sloped = model_density(REAL), model_density(REAL, edge_width=0.1)
    x, _ = drawn(exact, 200)
    assert torch.equal(exact.class_log_prob(x), sloped.class_log_prob(x))
    assert {check.name for check in check_density(sloped, x) if check.passed is False} == {
        "gradient"
    }


def test_the_slope_leads_from_the_annulus_to_the_wrong_class_in_the_ball() -> None:
    x, label = drawn(data_density(REAL), 200)
    x = x[(label == 0) & (x.norm(dim=1) > 1)].requires_grad_()
    values = model_density(REAL, edge_width=0.1).class_log_prob(x)
    for y, steepest in ((0, 0.0), (1, -5.0)):
        (gradient,) = torch.autograd.grad(values[:, y].sum(), x, retain_graph=True)
        outwards = (gradient * x).sum(1) / x.norm(dim=1)
        assert (outwards < steepest).all()
    (flat,) = torch.autograd.grad(model_density(REAL).class_log_prob(x).sum(), x)
    assert torch.equal(flat, torch.zeros_like(x))


def test_where_nothing_has_density_all_stays_finite_and_is_refused() -> None:
    nowhere = torch.zeros(3, 35, dtype=torch.float64)
    nowhere[:, 0] = torch.tensor([1.7, 2.99999, 1.50001])
    nowhere[1, 1] = 1.0
    prediction = GenerativeClassifier(model_density(REAL))(nowhere)
    assert prediction.log_posterior.isfinite().all()
    detector = LikelihoodThreshold(REAL.median_bits_per_dim + 10)
    assert flagged(detector, prediction).all()


def test_the_attack_ends_in_the_ball_less_than_the_radius_away() -> None:
    x, label = drawn(data_density(REAL), 2000)
    moved, norm = move_into_ball(x, REAL.radius), x.norm(dim=1)
    attackable = (label == 0) & (norm > 1)
    assert (moved[attackable].norm(dim=1) < 1).all()
    assert ((x - moved)[attackable].norm(dim=1) < REAL.radius).all()
    assert torch.equal(moved[~attackable], x[~attackable])


def test_in_a_million_dimensions_samples_lie_where_they_should() -> None:
    example = counterexample(0.1, 0.01, 0.5, 10**6)
    density = data_density(example)
    x = density.sample(torch.tensor([0, 1]), generator=torch.Generator().manual_seed(0))
    assert x.norm(dim=1).tolist() == pytest.approx([1.5, 3.0], rel=1e-5)
    assert density.class_log_prob(x).argmax(1).tolist() == [0, 1]
    assert density.class_log_prob(move_into_ball(x, 0.5)).isfinite().all()


@pytest.mark.parametrize("width", [0.0, -1.0, math.nan, math.inf])
def test_an_edge_without_width_is_refused(width: float) -> None:
    with pytest.raises(CondgenError, match="edge_width is"):
        model_density(REAL, edge_width=width)


def test_a_temperature_is_refused() -> None:
    with pytest.raises(CondgenError, match=r"temperature is 0\.5"):
        model_density(REAL).sample(torch.tensor([0]), 0.5, generator=torch.Generator())
