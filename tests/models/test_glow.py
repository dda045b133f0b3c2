"""Glow: inverse, density, model summary, independence of batch and random state."""

import math

import pytest
import torch

from condgen import machine
from condgen.classifier import GenerativeClassifier
from condgen.errors import ConfigError, ImageError
from condgen.models.distributions import GAUSSIAN
from condgen.models.glow import Glow, coupling_network
from condgen.models.glow.bijections import MultiScale
from condgen.models.glow.priors import ClassMixture, SplitPrior, log_prob
from condgen.models.summary import summarize
from tests.conftest import shaken, tiny_glow

PRIORS = ["class-mixture", "split"]


@pytest.mark.parametrize("event_shape", [(1, 8, 8), (3, 4, 4)], ids=str)
def test_decode_undoes_encode_in_float32(event_shape: tuple[int, int, int]) -> None:
    glow, x = (
        tiny_glow(event_shape=event_shape, pixel_levels=256, strength=0.05),
        torch.rand(4, *event_shape),
    )
    torch.testing.assert_close(glow.decode(glow.encode(x)[0]), x, rtol=0, atol=1e-4)


def test_the_flow_maps_z_to_itself_over_the_images() -> None:
    glow = tiny_glow(event_shape=(1, 8, 8), levels=3, strength=0.05)
    z = torch.randn(4, 128)
    torch.testing.assert_close(glow.flow(glow.flow.inverse(z)[0])[0], z, rtol=0, atol=1e-4)


@pytest.mark.parametrize("prior", PRIORS)
def test_one_pass_equals_a_pass_per_class(prior: str) -> None:
    glow, x = tiny_glow(prior).double(), torch.rand(4, 1, 4, 4, dtype=torch.float64)
    together = glow.class_log_prob(x)
    z, log_det = glow.encode(x)
    for y in range(3):
        if prior == "split":
            rest, subspace = z[:, :-3], z[:, -3:]
            scale = torch.full((3,), math.log(0.3), dtype=z.dtype)
            of_subspace = log_prob(GAUSSIAN, subspace, torch.eye(3, dtype=z.dtype)[y], scale)
            mean, log_scale = glow.prior.mean_and_log_scale(subspace, torch.full((4,), y))
            alone = of_subspace + log_prob(GAUSSIAN, rest, mean, log_scale)
        else:
            alone = log_prob(
                GAUSSIAN, z, glow.prior.classes.mean[y], glow.prior.classes.log_scale[y]
            )
        torch.testing.assert_close(together[:, y], alone + log_det, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("training", [False, True])
def test_an_image_that_is_not_finite_has_no_number_and_the_others_keep_theirs(
    training: bool,
) -> None:
    """The unchanged half of a coupling keeps NaN; oneDNN's bfloat16 ReLU in training makes it 0.

    On AMX, oneDNN also reads beyond the end of a row and multiplies by 0. That gives NaN for the
    row before a row with NaN. The loss is then NaN, as required, but a second image is wrong too.
    ``torch.mm`` alone reproduces this.
    """
    glow, x = (
        tiny_glow(event_shape=(1, 8, 8), precision=torch.bfloat16).train(training),
        torch.rand(6, 1, 8, 8),
    )
    glow.class_log_prob(x)  # in training mode the first batch initializes actnorm
    torch.manual_seed(0)  # for the noise channels
    before, x[2, 0, 3, 4] = glow.class_log_prob(x), math.nan
    torch.manual_seed(0)
    after, others = glow.class_log_prob(x), [0, 1, 3, 4, 5]
    assert after[2].isnan().all()
    if not (training and torch.cpu._is_amx_tile_supported()):
        assert torch.equal(after[others], before[others])


@pytest.mark.parametrize("prior", PRIORS)
def test_eval_depends_on_neither_batch_nor_random_state(prior: str) -> None:
    glow, x = tiny_glow(prior), torch.rand(6, 1, 4, 4)
    together = glow.class_log_prob(x)
    torch.manual_seed(1)
    alone = torch.cat([glow.class_log_prob(image[None]) for image in x])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-4)


def test_noise_is_fresh_only_where_asked_for_and_seeded() -> None:
    glow, x = tiny_glow(), torch.rand(2, 1, 4, 4)
    with glow.fresh_noise(torch.Generator().manual_seed(3)):
        first, second = glow.class_log_prob(x), glow.class_log_prob(x)
    with glow.fresh_noise(torch.Generator().manual_seed(3)):
        again = glow.class_log_prob(x)
    assert not torch.equal(first, second)
    assert torch.equal(first, again)
    assert glow.noise_generator is None


def test_fixed_noise_is_typical_noise() -> None:
    """Bits/dim of the fixed draw are close to those of fresh draws, also for an untrained model."""
    glow, x = (
        tiny_glow(event_shape=(1, 8, 8)),
        torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(0)),
    )
    x = (x * 16).round() / 16
    fixed = glow.class_log_prob(x).mean().item()
    with glow.fresh_noise(torch.Generator().manual_seed(0)):
        fresh = torch.stack([glow.class_log_prob(x).mean() for _ in range(40)])
    assert abs(fixed - fresh.mean().item()) < 0.05 * abs(fresh.mean().item())


def test_the_caller_keeps_his_images() -> None:
    glow, x = tiny_glow(), torch.rand(2, 1, 4, 4)
    before = x.clone()
    glow.class_log_prob(x)
    assert torch.equal(x, before)


def test_density_of_two_pixels_integrates_to_one() -> None:
    """Sum over a grid of both pixels and their noise channels, in the unit of quantized values."""
    glow = Glow(
        ClassMixture(2, 4), event_shape=(1, 1, 2), pixel_levels=2, levels=1, blocks=2, width=8
    )
    glow = shaken(glow, strength=0.1).double().eval()
    with torch.no_grad():
        glow.prior.classes.raw_log_scale -= 1.0
    steps = 36
    axis = (torch.arange(steps, dtype=torch.float64) + 0.5) / steps
    box = [6 * axis - 3] * 4  # v and w far beyond their support
    v = torch.cartesian_prod(*box).view(-1, 2, 1, 2)
    with torch.no_grad():
        nats = torch.cat(
            [glow.prior(z)[0] + log_det[:, None] for z, log_det in map(glow.flow, v.split(1 << 16))]
        )
    total = nats.exp().sum(0) * (6 / steps) ** 4
    torch.testing.assert_close(total, torch.ones(2, dtype=torch.float64), rtol=2e-3, atol=0)


def test_bits_per_dim_of_a_uniform_model_is_log2_of_the_levels() -> None:
    """A flow that is the identity up to scale, with the uniform density on its image as prior."""
    glow = Glow(
        ClassMixture(2, 8), event_shape=(1, 2, 2), pixel_levels=16, levels=1, blocks=0, width=4
    ).eval()
    dims, levels = 4, 16
    uniform_noise = dims * math.log(levels / 2)  # density of w on [0, 2/L]

    class Uniform(torch.nn.Module):
        num_classes = 2

        def forward(self, z: torch.Tensor) -> tuple[torch.Tensor, None]:
            v, w = z[:, :dims], z[:, dims:]
            inside = (v.abs() <= 0.5).all(1) & (w >= 0).all(1) & (w <= 2 / levels).all(1)
            return torch.where(inside, uniform_noise, -math.inf)[:, None].expand(-1, 2), None

    glow.prior = Uniform()
    x = torch.randint(0, levels, (5, 1, 2, 2)) / (levels - 1)
    with glow.fresh_noise(torch.Generator().manual_seed(0)):
        bits = GenerativeClassifier(glow)(x).bits_per_dim
    torch.testing.assert_close(bits, torch.full((5,), math.log2(levels)), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("prior", PRIORS)
def test_samples_have_the_density_that_the_prior_says(prior: str) -> None:
    """Mean negative log-density of samples equals the entropy that follows from the scales."""
    made = ClassMixture(3, 24) if prior == "class-mixture" else SplitPrior(3, 24, hidden=8)
    prior_module = shaken(made)
    label = torch.full((20000,), 1)
    with torch.no_grad():
        z = prior_module.sample(label, 1.0, torch.Generator().manual_seed(0))
        nats = prior_module(z)[0][:, 1]
        if prior == "class-mixture":
            log_scale = prior_module.classes.log_scale[1].sum()
        else:
            log_scale = prior_module.mean_and_log_scale(z[:, -3:], label)[1].sum(
                1
            ).mean() + 3 * math.log(0.3)
    entropy = 24 * 0.5 * (1 + math.log(2 * math.pi)) + log_scale
    torch.testing.assert_close(-nats.mean(), entropy, rtol=0, atol=0.1)


def test_samples_are_images_at_stored_levels() -> None:
    glow = tiny_glow()
    x = glow.sample(torch.arange(3), generator=torch.Generator().manual_seed(0))
    assert x.shape == (3, 1, 4, 4)
    assert ((x * 16).round() / 16 == x).all()
    assert 0 <= x.min() <= x.max() <= 1


def test_an_image_that_cannot_be_halved_names_what_can() -> None:
    with pytest.raises(ConfigError, match="28x28 cannot be halved for 4 levels; use 1 to 3 levels"):
        Glow(ClassMixture(2, 2 * 784), event_shape=(1, 28, 28), levels=4)


def test_gradient_reaches_the_image() -> None:
    glow, x = tiny_glow(), torch.rand(2, 1, 4, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(glow.class_log_prob(x).sum(), x)
    assert torch.isfinite(gradient).all()
    assert (gradient != 0).all()


@pytest.mark.parametrize(("family", "temperature"), [("cauchy", 1.0), ("gaussian", 6.0)])
def test_samples_are_finite_even_where_the_tails_of_the_prior_overflow(
    family: str, temperature: float
) -> None:
    glow = shaken(
        Glow(ClassMixture(3, 32, family), event_shape=(1, 4, 4), levels=2, blocks=6, width=8), 0.1
    )
    generator = torch.Generator().manual_seed(0)
    once = glow.decode(glow.prior.sample(torch.arange(300) % 3, temperature, generator))
    assert not torch.isfinite(once).all()  # otherwise the test shows nothing
    assert torch.isfinite(
        glow.sample(torch.arange(300) % 3, temperature, generator=generator)
    ).all()


@pytest.mark.parametrize("temperature", [math.nan, math.inf, -1.0, 1e30])
def test_a_temperature_that_draws_nothing_is_refused(temperature: float) -> None:
    with pytest.raises(ConfigError, match="temperature"):
        shaken(tiny_glow()).sample(
            torch.arange(3), temperature, generator=torch.Generator().manual_seed(0)
        )


def test_a_sample_of_no_class_is_refused() -> None:
    with pytest.raises(ImageError, match="labels run from -1 to 2"):
        tiny_glow().sample(torch.tensor([-1, 2]), generator=torch.Generator())


def test_no_images_have_no_likelihoods() -> None:
    assert tiny_glow().class_log_prob(torch.zeros(0, 1, 4, 4)).shape == (0, 3)
    assert tiny_glow().sample(torch.arange(0), generator=torch.Generator()).shape == (0, 1, 4, 4)


def test_the_card_counts_memory_in_the_precision_of_training() -> None:
    cards = []
    for precision in (None, torch.bfloat16):
        glow = Glow(
            ClassMixture(3, 512),
            event_shape=(1, 16, 16),
            levels=2,
            blocks=2,
            width=64,
            precision=precision,
        )
        cards.append(summarize(glow))
        assert glow.training
    assert cards[1].activation_bytes < 0.8 * cards[0].activation_bytes


def test_constant_memory_costs_one_more_pass_and_keeps_less() -> None:
    stored, constant = (
        tiny_glow(event_shape=(1, 8, 8), blocks=4, constant_memory=constant)
        for constant in (False, True)
    )
    usual, frugal = summarize(stored), summarize(constant)
    assert frugal.likelihood_flops == usual.likelihood_flops
    assert frugal.training_flops == usual.training_flops + usual.likelihood_flops
    assert frugal.activation_bytes < usual.activation_bytes
    assert summarize(constant) == frugal


def test_the_card_counts_the_operations_of_all_threads(two_threads: None) -> None:
    glow = Glow(ClassMixture(2, 8192), event_shape=(1, 64, 64), levels=2, blocks=1, width=128)
    with machine.alone():
        expected = summarize(glow)
    assert summarize(glow) == expected


def test_the_card_counts_the_convolutions_of_other_devices_exactly() -> None:
    of_width = {width: tiny_glow(levels=1, blocks=1, width=width) for width in (16, 32)}
    # 1 input channel, 2 output channels
    thin, wide = (2 * 16 * (9 * 1 * width + width * width + 9 * width * 2) for width in of_width)
    on_gpu = {width: summarize(glow, "cuda").likelihood_flops for width, glow in of_width.items()}
    assert on_gpu[32] - on_gpu[16] == wide - thin
    on_cpu = {width: summarize(glow).likelihood_flops for width, glow in of_width.items()}
    assert on_cpu[32] - on_cpu[16] > wide - thin  # bias as a row of ones, padded rows
    assert coupling_network.BLOCKED_ON == ("cpu",)


@pytest.mark.parametrize("number", [33, 40])
@pytest.mark.parametrize("precision", [None, torch.bfloat16], ids=str)
def test_threads_change_no_bit_and_actnorm_starts_from_the_whole_batch(
    precision: torch.dtype | None, number: int, two_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.rand(number, 1, 8, 8)
    pieces: list[int] = []
    through = MultiScale._through
    monkeypatch.setattr(
        MultiScale,
        "_through",
        lambda flow, levels, x: pieces.append(len(x)) or through(flow, levels, x),
    )

    def found() -> list[torch.Tensor]:
        torch.manual_seed(0)  # for the noise channels
        glow = tiny_glow(event_shape=(1, 8, 8), precision=precision).train()
        with torch.no_grad():
            first, again = (glow.class_log_prob(x) for _ in range(2))
            z = glow.eval().encode(x)[0]
            return [first, again, z, glow.decode(z), *glow.parameters()]

    shared = found()
    # Once the complete batch, to initialize actnorm.
    assert sorted(pieces) == [16, 16, number - 16, number - 16, number]
    with machine.alone():
        for one, other in zip(found(), shared, strict=True):
            assert torch.equal(one, other)
