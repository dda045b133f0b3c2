"""Simple densities: exact on tiny spaces, equal to other libraries, usable as models."""

import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from scipy import stats

from condgen import ImageDataset, Run, open_dataset
from condgen.cli import main
from condgen.config import load_preset
from condgen.data.dataset import Splits
from condgen.errors import ConfigError
from condgen.experiments import simple as module
from condgen.experiments import simple_densities
from condgen.models.simple import Gaussian, IndependentPixels, SimpleDensity, Uniform
from condgen.models.simple.independent_pixels import smoothed
from condgen.randomness import stream
from condgen.testing import check_density

KINDS = [
    (Uniform, False),
    (IndependentPixels, False),
    (IndependentPixels, True),
    (Gaussian, False),
    (Gaussian, True),
]
SHAPE, LEVELS = (1, 2, 2), 4


def fitted(kind: type[SimpleDensity], per_class: bool, number: int = 60) -> SimpleDensity:
    density = kind(SHAPE, 2, LEVELS, per_class)
    x, label = images(number)
    density.fit(x, label)
    return density


def images(number: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    """Two classes that differ in brightness; pixels depend on each other."""
    generator = stream(0, "images")
    label = torch.arange(number) % 2
    base = torch.randint(0, 3, (number, 1, 1, 1), generator=generator)
    shift = torch.randint(0, 2, (number, *SHAPE), generator=generator)
    return (base + shift * label.view(-1, 1, 1, 1)).float() / (LEVELS - 1), label


def every_image() -> torch.Tensor:
    return torch.tensor(list(product(range(LEVELS), repeat=4))).view(-1, *SHAPE) / (LEVELS - 1)


@pytest.mark.parametrize(("kind", "per_class"), KINDS)
def test_probabilities_of_all_images_sum_to_one_or_less(
    kind: type[SimpleDensity], per_class: bool
) -> None:
    total = fitted(kind, per_class).class_log_prob(every_image().double()).exp().sum(0)
    assert total.shape == (2,)
    if kind is Gaussian:
        assert (total < 1.0).all()  # a lower bound, with mass beyond the pixel values
        assert (total > 0.3).all()
    else:
        torch.testing.assert_close(total, torch.ones(2, dtype=torch.float64), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("kind", "per_class"), KINDS)
def test_they_are_models_like_any_other(kind: type[SimpleDensity], per_class: bool) -> None:
    density = fitted(kind, per_class).eval()
    failed = [check for check in check_density(density, images(16)[0]) if check.passed is False]
    assert not failed
    drawn = density.sample(torch.tensor([0, 1, 1]), generator=stream(0, "samples"))
    assert drawn.shape == (3, *SHAPE)
    assert torch.equal((drawn * (LEVELS - 1)).round() / (LEVELS - 1), drawn)


def test_the_gaussian_is_the_expectation_over_the_dequantization_noise() -> None:
    x, label = images(400)
    density = Gaussian(SHAPE, 2, LEVELS)
    for part in zip(x.split(150), label.split(150), strict=True):
        density.observe(*part)
    density.solve()
    values = (x.flatten(1) * (LEVELS - 1)).double().numpy()
    covariance = np.cov(values.T, bias=True) + np.eye(4) / 12
    oracle = stats.multivariate_normal(values.mean(0) + 0.5, covariance)
    noise = np.random.default_rng(0).random((20_000, 4))
    for image in range(3):
        expected = oracle.logpdf(values[image] + noise).mean()
        found = density.class_log_prob(x[image : image + 1])[0, 0].item()
        assert found == pytest.approx(expected, abs=0.06)  # error of 20,000 draws


def test_a_gaussian_per_class_is_the_gaussian_of_each_class() -> None:
    x, label = images()
    both = fitted(Gaussian, per_class=True)
    for y in (0, 1):
        alone = Gaussian(SHAPE, 2, LEVELS)
        alone.fit(x[label == y], label[label == y])
        torch.testing.assert_close(both.class_log_prob(x)[:, y], alone.class_log_prob(x)[:, 0])


def test_samples_have_the_moments_of_the_images() -> None:
    x, label = images(4000)
    for kind in (IndependentPixels, Gaussian):
        density = kind(SHAPE, 2, LEVELS, per_class=True)
        density.fit(x, label)
        drawn = density.sample(torch.ones(4000, dtype=torch.int64), generator=stream(1, "samples"))
        torch.testing.assert_close(drawn.mean(0), x[label == 1].mean(0), atol=0.03, rtol=0)


def test_histograms_count_what_there_is() -> None:
    counts = torch.tensor([[1000.0, 3000.0], [2000.0, 2000.0]])
    table = smoothed(counts, torch.tensor([0.5, 0.5]))
    torch.testing.assert_close(table, counts / 4000, atol=1e-3, rtol=0)
    few = smoothed(torch.tensor([[1.0, 1.0, 0.0, 0.0]]), torch.full((4,), 0.25))
    assert (few > 0.2).all()  # single counts are not predictive: the prior remains


def test_between_levels_the_log_probability_is_smooth() -> None:
    density = fitted(IndependentPixels, per_class=True).double()
    levels = torch.linspace(0.02, 0.98, 50, dtype=torch.float64)
    x = levels.view(-1, 1, 1, 1).expand(-1, *SHAPE).clone().requires_grad_()
    (gradient,) = torch.autograd.grad(density.class_log_prob(x)[:, 1].sum(), x)
    ahead, behind = (density.class_log_prob(x.detach() + step)[:, 1] for step in (1e-4, -1e-4))
    torch.testing.assert_close(
        gradient.flatten(1).sum(1), (ahead - behind) / 2e-4, rtol=1e-3, atol=0.05
    )
    assert gradient.abs().sum() > 0


def test_too_many_numbers_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"10 covariance matrices .* model\.per_class=false"):
        Gaussian((3, 64, 64), 10, per_class=True)
    with pytest.raises(ConfigError, match=r"histograms of 256 levels are too large"):
        IndependentPixels((3, 224, 224), 1000, per_class=True)


def test_a_class_without_images_is_refused() -> None:
    x, _ = images()
    with pytest.raises(ConfigError, match=r"classes \[1\] have no training image"):
        Gaussian(SHAPE, 2, LEVELS, per_class=True).fit(x, torch.zeros(len(x), dtype=torch.int64))


def small_splits(seed: int = 0) -> Splits:
    digits = open_dataset("digits")
    train = digits.train.take(np.random.default_rng(seed).permutation(len(digits.train))[:400])
    return Splits(train, digits.validation, digits.test, "test", "test")


def test_numbers_come_from_the_cache_the_second_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONDGEN_CACHE", str(tmp_path))
    first = simple_densities(small_splits(), quiet=True)
    assert first["uniform"] == pytest.approx(math.log2(17))
    monkeypatch.setattr(module, "_bits_per_dim", None)
    assert simple_densities(small_splits(), quiet=True) == first
    with pytest.raises(TypeError):  # other images: computed again
        simple_densities(small_splits(seed=1), quiet=True)
    (noted,) = tmp_path.glob("simple-densities-*.json")
    noted.write_text('{"uni')
    with pytest.raises(TypeError):  # damaged cache file: computed again
        simple_densities(small_splits(), quiet=True)


def test_numbers_are_those_of_the_models(tmp_path: Path) -> None:
    """The audited Gaussian preset has the bits/dim that `condgen show` prints."""
    runner = CliRunner()
    run = tmp_path / "run"
    for command in (
        ["train", "digits-gaussian", "--run", str(run)],
        ["audit", str(run), "--only", "classification"],
    ):
        result = runner.invoke(main, command)
        assert result.exit_code == 0, result.output
    summary = Run.open(run).record("classification").summary
    expected = simple_densities(open_dataset("digits"), quiet=True)["Gaussian per class"]
    assert summary["bits_per_dim"] == pytest.approx(expected, abs=1e-4)
    assert summary["simple_densities"] == {}  # the model is a simple density
    shown = runner.invoke(main, ["show", "digits"])
    assert f"{expected:.3f} bits/dim (test)" in shown.output


def test_more_than_one_epoch_in_closed_form_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        main,
        ["train", "digits-gaussian", "--set", "training.epochs=2", "--run", str(tmp_path / "r")],
    )
    assert result.exit_code == 2
    assert "needs one epoch, not 2" in result.stderr
    assert not (tmp_path / "r").exists()
    result = CliRunner().invoke(
        main,
        ["train", "digits-base", "--set", "objective=closed-form", "--set", "training.epochs=1"],
    )
    assert result.exit_code == 2
    assert "Glow has no observe(), solve() and statistics()" in result.stderr


def test_presets_of_gaussians() -> None:
    for name in ("digits-gaussian", "mnist-gaussian", "cifar10-gaussian"):
        assert load_preset(name).model.words == "gaussian per class"


def test_fewer_images_than_dimensions_still_give_a_density() -> None:
    data = ImageDataset(
        np.random.default_rng(0).integers(0, 256, (20, 3, 4, 4), np.uint8), np.arange(20) % 2
    )
    density = Gaussian(data.event_shape, 2, 256, per_class=True)
    density.fit(*data.batch(slice(None)))
    assert torch.isfinite(density.class_log_prob(data.batch(slice(None))[0])).all()
