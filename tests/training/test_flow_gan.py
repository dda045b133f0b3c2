"""Flow-GAN: exact gradients and penalties, the limits of lambda, and verdicts on collapse."""

import math

import pytest
import torch
from torch import Tensor, nn

from condgen import GenerativeClassifier, open_dataset
from condgen.config import Training
from condgen.errors import ConfigError
from condgen.models.gaussian import DiagonalGaussian
from condgen.models.glow.condition import log_condition
from condgen.models.glow.model import inverse_bounded
from condgen.randomness import stream
from condgen.training import critics
from condgen.training.critics import Critic, gradient_penalty
from condgen.training.flow_gan import FlowGan, FlowGanSettings
from condgen.training.maximum_likelihood import LikelihoodSettings, ReweightSettings
from condgen.training.steps import NonFiniteLoss
from tests.conftest import tiny_glow
from tests.training.small import tiny_density

TRAINING = Training(epochs=1, batch_size=32, learning_rate=1e-3, warm_up_steps=0)
DIGITS = open_dataset("digits")


def flow_gan(**settings) -> FlowGan:
    classifier = GenerativeClassifier(tiny_density(0, "digits-base"))
    return FlowGanSettings(critic_width=8, **settings).step(classifier, TRAINING, 8)


def take(step, number: int) -> dict[str, Tensor]:
    x, label = DIGITS.train.batch(slice(32 * number, 32 * number + 32))
    return step.step(x, label, stream(0, "noise", 0, number))


def test_samples_are_the_inverse_of_the_flow_with_the_right_gradient() -> None:
    glow = tiny_glow("class-mixture").double().eval()
    label = torch.arange(4) % glow.num_classes
    parameter = next(each for each in glow.parameters() if each.numel() > 1)

    def drawn() -> Tensor:
        return glow.rsample(label, generator=stream(0, "samples"))

    weights = torch.randn(drawn().shape, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((weights * drawn()).sum(), parameter)
    direction, step = torch.randn_like(parameter), 1e-6
    ends = []
    with torch.no_grad():
        for sign in (1, -1):
            parameter += sign * step * direction
            ends.append((weights * drawn()).sum())
            parameter -= sign * step * direction
    slope = (ends[0] - ends[1]) / (2 * step)
    torch.testing.assert_close((gradient * direction).sum(), slope, rtol=1e-5, atol=1e-7)


def test_the_condition_of_the_flow_is_that_of_its_jacobian() -> None:
    glow = tiny_glow("class-mixture").double().eval()
    draws = stream(0, "weights")
    with torch.no_grad():
        for parameter in glow.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=draws)
    v = glow.noisy(torch.rand(3, *glow.event_shape, dtype=torch.float64), stream(0, "noise"))
    found = log_condition(glow.flow.forward, glow.flow.inverse, v, stream(0, "steps"), 100)
    for each, ours in zip(v, found, strict=True):
        jacobian = torch.autograd.functional.jacobian(
            lambda x: glow.flow.forward(x[None])[0][0], each
        )
        exact = torch.linalg.cond(jacobian.reshape(-1, each.numel())).log()
        torch.testing.assert_close(ours, exact, rtol=1e-4, atol=0)


def test_dequantized_images_are_those_that_samples_are_compared_with() -> None:
    glow = tiny_glow("class-mixture").eval()
    x = torch.randint(0, 17, (5, *glow.event_shape)) / 16
    real = glow.dequantized(x, stream(0, "noise"))
    offset = real * 17 - (x * 16).round()
    assert offset.min() > -1e-4
    assert offset.max() < 1 + 1e-4
    v = glow.noisy(x, stream(0, "noise"))
    z, _ = glow.flow(v)
    again, _ = glow.flow.inverse(z)
    torch.testing.assert_close(again[:, :1] + 0.5, real, atol=1e-4, rtol=0)


def test_the_inverse_divides_by_no_scale_below_the_bound() -> None:
    glow = tiny_glow("class-mixture").eval()
    with torch.no_grad():
        for step in glow.actnorms:
            step.log_scale.fill_(-50.0)
    label = torch.zeros(3, dtype=torch.int64)
    bounded = glow.rsample(label, generator=stream(0, "samples"))
    z = glow.prior.sample(label, 1.0, stream(0, "samples"))
    free, _ = glow.flow.inverse(z)
    assert bounded.isfinite().all()
    assert not free.isfinite().all()
    with inverse_bounded(glow, -60.0):
        pass
    assert glow.actnorms[0].smallest_log_scale == -math.inf


class Linear(nn.Module):
    def __init__(self, weight: Tensor):
        super().__init__()
        self.weight = weight

    def forward(self, x: Tensor, label: Tensor) -> tuple[Tensor, None]:
        return (self.weight * x).flatten(1).sum(1), None


def test_the_penalty_is_on_the_norm_over_all_dimensions() -> None:
    weight = torch.full((1, 3, 3), 0.5)  # norm 1.5
    real, fake, label = torch.rand(4, 1, 3, 3), torch.rand(4, 1, 3, 3), torch.zeros(4).long()
    penalty = gradient_penalty(Linear(weight), real, fake, label, stream(0, "noise"))
    torch.testing.assert_close(penalty, torch.tensor(0.25))


@pytest.mark.parametrize("conditioning", ["projection", "auxiliary"])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (1, 4, 6)])
def test_a_critic_scores_each_image_alone_and_knows_the_class(
    conditioning: critics.Conditioning, shape: tuple[int, int, int]
) -> None:
    critic, x = Critic(shape, 3, conditioning, width=4), torch.rand(6, *shape)
    label = torch.tensor([0, 1, 2, 0, 1, 2])
    score, logits = critic(x, label)
    torch.testing.assert_close(critic(x[2:3], label[2:3])[0], score[2:3], rtol=1e-4, atol=1e-5)
    other, _ = critic(x, (label + 1) % 3)
    assert torch.equal(score, other) == (conditioning == "auxiliary")
    assert (logits is None) == (conditioning == "projection")


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_without_the_critic_it_is_maximum_likelihood_to_the_bit(alpha: float) -> None:
    classifier = GenerativeClassifier(tiny_density(0, "digits-base"))
    settings = ReweightSettings(alpha=alpha) if alpha else LikelihoodSettings()
    plain = settings.step(classifier, TRAINING, 8)
    limit = flow_gan(likelihood=math.inf, alpha=alpha)
    for number in range(3):
        found = [take(step, number)["loss"] for step in (plain, limit)]
        assert torch.equal(*found)
    for key, tensor in plain.weights().items():
        assert torch.equal(tensor, limit.weights()[key]), key


@pytest.mark.parametrize("critic", ["wasserstein", "non-saturating"])
@pytest.mark.parametrize("conditioning", ["projection", "auxiliary"])
def test_the_critic_moves_the_flow_even_without_likelihood(critic: str, conditioning: str) -> None:
    step = flow_gan(likelihood=0.0, critic=critic, conditioning=conditioning, critic_steps=2)
    take(step, 0)  # initializes actnorm
    before = {key: tensor.clone() for key, tensor in step.weights().items()}
    first = take(step, 1)
    assert first["critic_loss"] != 0
    assert first["log_scale_min"] <= first["log_scale_max"]
    assert any(not torch.equal(tensor, before[key]) for key, tensor in step.weights().items())
    metrics = step.validate(DIGITS.validation, 0)
    assert math.isfinite(metrics["bits_per_dim"])


def test_the_critic_learns_to_tell_samples_from_images() -> None:
    step = flow_gan(likelihood=math.inf, critic_learning_rate=1e-3, penalty=0.1)
    take(step, 0)
    x, label = DIGITS.train.batch(slice(0, 128))
    gaps = [
        step._train_critic(x, label, stream(0, "noise", number))["gap"].item()
        for number in range(40)
    ]
    assert sum(gaps[-5:]) > sum(gaps[:5])
    assert gaps[-1] > 0


def test_a_collapse_ends_training_with_a_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    step = flow_gan()
    take(step, 0)
    density = type(step.in_use.density)

    def one_mode(self, label: Tensor, *, generator: torch.Generator) -> Tensor:
        drawn = torch.rand(len(label), *self.event_shape, generator=generator)
        return torch.where((label == 3)[:, None, None, None], torch.tensor(0.5), drawn)

    monkeypatch.setattr(density, "rsample", one_mode)
    with pytest.raises(NonFiniteLoss, match="generator collapsed: samples of class 3"):
        step.validate(DIGITS.validation, 0)
    monkeypatch.undo()
    with torch.no_grad():
        step.in_use.density.actnorms[0].log_scale.fill_(-40.0)
    with pytest.raises(NonFiniteLoss, match="log-scale of the flow is beyond 30 nats"):
        step.validate(DIGITS.validation, 0)


def test_a_critic_that_has_won_ends_training_with_a_verdict() -> None:
    step = flow_gan(critic="non-saturating")
    take(step, 0)
    with torch.no_grad():
        step.critic.score.bias.fill_(-1e4)
    with pytest.raises(NonFiniteLoss, match="the critic wins"):
        step.validate(DIGITS.validation, 0)


def test_a_model_without_differentiable_samples_is_refused() -> None:
    density = DiagonalGaussian(torch.rand(2, 1, 4, 4))
    density.mean = nn.Parameter(density.mean)
    with pytest.raises(ConfigError, match="needs a flow, but DiagonalGaussian has no"):
        FlowGanSettings().step(GenerativeClassifier(density), TRAINING, 8)


@pytest.mark.parametrize("bad", [{"likelihood": -1.0}, {"likelihood": math.nan}, {"penalty": -1.0}])
def test_weights_out_of_range_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        FlowGanSettings(**bad)
