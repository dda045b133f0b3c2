"""Priors: density families and label smoothing."""

import math

import pytest
import torch
from scipy import stats

from condgen.errors import ConfigError
from condgen.models.distributions import FAMILIES
from condgen.models.glow.priors import ClassMixture, SplitPrior
from tests.conftest import shaken

SCIPY = {"gaussian": stats.norm, "laplace": stats.laplace, "cauchy": stats.cauchy}


@pytest.mark.parametrize("name", SCIPY)
def test_a_family_is_the_textbook_density(name: str) -> None:
    u = torch.linspace(-30, 30, 61, dtype=torch.float64)
    torch.testing.assert_close(
        FAMILIES[name].log_prob(u), torch.from_numpy(SCIPY[name].logpdf(u.numpy()))
    )


@pytest.mark.parametrize("name", ["gaussian-laplace", "gaussian-cauchy"])
def test_a_mixture_is_half_of_each(name: str) -> None:
    u = torch.linspace(-30, 30, 61, dtype=torch.float64)
    expected = 0.5 * stats.norm.pdf(u) + 0.5 * SCIPY[name.removeprefix("gaussian-")].pdf(u)
    torch.testing.assert_close(FAMILIES[name].log_prob(u).exp(), torch.from_numpy(expected))


@pytest.mark.parametrize("name", FAMILIES)
def test_draws_follow_the_density(name: str) -> None:
    draws = FAMILIES[name].draw((20000,), torch.Generator().manual_seed(0)).double()
    grid = torch.linspace(-200, 200, 400001, dtype=torch.float64)
    cdf = FAMILIES[name].log_prob(grid).exp().cumsum(0) * 1e-3 + {
        "cauchy": 0.00159,
        "gaussian-cauchy": 0.0008,
    }.get(name, 0)
    for quantile in (0.05, 0.25, 0.5, 0.9):
        point = grid[torch.searchsorted(cdf, torch.tensor(quantile, dtype=torch.float64))]
        assert (draws < point).double().mean().item() == pytest.approx(quantile, abs=0.012)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("kind", [ClassMixture, SplitPrior])
def test_any_family_goes_with_any_prior(name: str, kind: type) -> None:
    prior = shaken(kind(3, 12, family=name))
    z = prior.sample(torch.arange(3), 1.0, torch.Generator().manual_seed(0))
    assert torch.isfinite(prior(z)[0]).all()


def test_label_smoothing_is_a_mixture_over_latent_clusters() -> None:
    plain, smooth = shaken(ClassMixture(3, 4)), ClassMixture(3, 4, label_smoothing=0.3)
    smooth.load_state_dict(plain.state_dict())
    z = torch.randn(5, 4)
    clusters = plain(z)[0].exp()
    expected = 0.7 * clusters[:, 1] + 0.15 * (clusters[:, 0] + clusters[:, 2])
    torch.testing.assert_close(smooth(z)[0][:, 1].exp(), expected)


def test_label_smoothing_bounds_a_confident_mistake() -> None:
    """App. C.2: at a wrong cluster center the log-ratio is at most log((1 - e) (C - 1) / e)."""
    prior = ClassMixture(3, 4, label_smoothing=0.1)
    with torch.no_grad():
        prior.classes.raw_mean[1] += 50
    of_class = prior(prior.classes.mean[1:2])[0][0]
    assert (of_class[1] - of_class[0]).item() == pytest.approx(math.log(0.9 * 2 / 0.1), rel=1e-5)


def test_smoothed_samples_come_from_the_latent_cluster() -> None:
    prior = ClassMixture(4, 1, label_smoothing=0.4)
    with torch.no_grad():
        prior.classes.raw_mean[:, 0] = torch.tensor([0.0, 100.0, 200.0, 300.0])
    z = prior.sample(torch.zeros(20000, dtype=torch.long), 1.0, torch.Generator().manual_seed(0))
    shares = torch.bincount((z[:, 0] / 100).round().long(), minlength=4) / 20000
    torch.testing.assert_close(
        shares, torch.tensor([0.6, 0.4 / 3, 0.4 / 3, 0.4 / 3]), atol=0.012, rtol=0
    )


def test_a_step_on_the_parameters_moves_the_posterior_alike_in_any_dimension() -> None:
    swings = []
    for dims in (128, 4096):
        prior, z = ClassMixture(2, dims), torch.ones(1, dims)
        with torch.no_grad():
            prior.classes.raw_mean[0] += 1e-3
        of_class = prior(z)[0][0]
        swings.append((of_class[0] - of_class[1]).item())
    assert swings[1] == pytest.approx(swings[0], rel=0.01)


@pytest.mark.parametrize("name", FAMILIES)
def test_numbers_that_no_class_depends_on_are_standard(name: str) -> None:
    few, whole = (
        shaken(ClassMixture(3, 6, family=name, class_dims=2)),
        ClassMixture(3, 6, family=name),
    )
    with torch.no_grad():
        whole.classes.raw_mean[:, -2:] = few.classes.raw_mean
        whole.classes.raw_log_scale[:, -2:] = few.classes.raw_log_scale
    z = few.sample(torch.arange(3), 1.0, torch.Generator().manual_seed(0))
    torch.testing.assert_close(few(z)[0], whole(z)[0])
    torch.testing.assert_close(
        z, whole.sample(torch.arange(3), 1.0, torch.Generator().manual_seed(0))
    )


@pytest.mark.parametrize("class_dims", [0, 7])
def test_more_class_numbers_than_there_are_are_refused(class_dims: int) -> None:
    with pytest.raises(ConfigError, match=r"class_dims is \d, but z has 6 dimensions; use 1 to 6"):
        ClassMixture(3, 6, class_dims=class_dims)
