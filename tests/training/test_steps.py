"""Training steps: gradient accumulation, weight average, randomness, user-defined steps."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from condgen.classifier import GenerativeClassifier
from condgen.config import Training
from condgen.data.catalogue import open_dataset
from condgen.data.dataset import ImageDataset
from condgen.errors import ConfigError, RunError
from condgen.models.gaussian import DiagonalGaussian
from condgen.randomness import seeded, stream
from condgen.training.average import Average
from condgen.training.maximum_likelihood import MaximumLikelihood
from condgen.training.objectives import Likelihood, Reweight
from condgen.training.steps import NonFiniteLoss, TrainingStep
from tests.training.small import (
    SETTINGS,
    TrainedGaussian,
    assert_same,
    differ,
    images,
    last,
    settings,
    step_of,
    train,
)


def gaussian_step(dropout: float = 0.0, **changes: object) -> MaximumLikelihood:
    classifier = GenerativeClassifier(TrainedGaussian(dropout)).double()
    return MaximumLikelihood(classifier, Reweight(), settings(**changes), 4)


def batch(number: int = 50) -> tuple[Tensor, Tensor]:
    x, label = images().batch(slice(0, number))
    return x.double(), label


@pytest.mark.parametrize("parts", [2, 3, 7])
def test_a_batch_in_parts_gives_the_step_of_the_whole_batch(parts: int) -> None:
    whole, divided = gaussian_step(), gaussian_step(accumulation=parts)
    for _ in range(3):
        expected = whole.step(*batch(), stream(0, "noise"))
        found = divided.step(*batch(), stream(0, "noise"))
        assert found.keys() == expected.keys()
        for name in expected:
            torch.testing.assert_close(found[name], expected[name], rtol=1e-12, atol=1e-12)
    gradients = [step.classifier.density.mean.grad for step in (whole, divided)]
    torch.testing.assert_close(*gradients, rtol=1e-11, atol=1e-13)
    means = [step.classifier.density.mean for step in (whole, divided)]
    torch.testing.assert_close(*means, rtol=1e-9, atol=1e-12)


def test_a_model_without_parameters_is_refused() -> None:
    classifier = GenerativeClassifier(DiagonalGaussian(torch.rand(10, 1, 8, 8)))
    with pytest.raises(ConfigError, match="DiagonalGaussian has no parameters to train"):
        MaximumLikelihood(classifier, Likelihood(), SETTINGS, 4)


def test_each_part_of_a_batch_has_images() -> None:
    with pytest.raises(
        ConfigError, match=r"training\.accumulation = 100 does not fit: a batch has 64 images"
    ):
        gaussian_step(accumulation=100)


def test_a_step_gives_the_metrics_of_its_batch_and_moves() -> None:
    step = gaussian_step()
    x, label = batch()
    prediction = step.classifier(x)
    expected = Reweight()(prediction, label).mean()
    before = step.classifier.density.mean.clone()
    found = step.step(x, label, stream(0, "noise"))
    torch.testing.assert_close(found["loss"], expected.detach())
    assert found["accuracy"] == (prediction.label == label).double().mean()
    assert (step.taken, found["gradient_norm"] > 0) == (1, True)
    assert not torch.equal(step.classifier.density.mean, before)


def test_dropout_and_noise_come_from_the_generator_of_the_step() -> None:
    found = {}
    for name, global_seed, number in (("a", 1, 0), ("same", 2, 0), ("other", 1, 1)):
        torch.manual_seed(global_seed)
        found[name] = gaussian_step(dropout=0.5).step(*batch(), stream(0, "noise", number))["loss"]
    assert found["a"] == found["same"]
    assert found["a"] != found["other"]
    # Without dropout the loss differs.
    assert gaussian_step().step(*batch(), stream(0, "noise", 0))["loss"] != found["a"]


def test_dropout_differs_between_the_steps_of_an_epoch_and_the_parts_of_a_batch() -> None:
    x, label = (torch.cat([half, half]) for half in batch(20))
    step = gaussian_step(dropout=0.5, accumulation=2, learning_rate=1e-30)
    seen: list[Tensor] = []
    step.classifier.density.dropout.register_forward_hook(lambda *call: seen.append(call[2]))
    for number in range(2):
        step.step(x, label, stream(0, "noise", 0, number))
    assert len(seen) == 4
    assert not any(torch.equal(seen[i], seen[j]) for i in range(4) for j in range(i))


def test_seeded_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    with seeded(stream(0, "dropout")):
        first = torch.rand(2)
    assert torch.equal(torch.rand(2), expected)
    with seeded(stream(0, "dropout")):
        assert torch.equal(torch.rand(2), first)


def test_training_with_dropout_is_reproducible_and_resumes_inside_an_epoch(tmp_path: Path) -> None:
    def step() -> MaximumLikelihood:
        classifier = GenerativeClassifier(TrainedGaussian(0.5, torch.float32))
        return MaximumLikelihood(classifier, Likelihood(), SETTINGS, 4)

    whole = train(tmp_path / "whole", step=step())
    torch.manual_seed(5)
    train(tmp_path / "parts", step=step(), max_steps=3)
    torch.rand(7)
    assert_same(train(tmp_path / "parts", step=step(), resume=True), whole)


def test_the_average_follows_its_formula() -> None:
    module = nn.Linear(1, 1).double()
    module.register_buffer("count", torch.tensor(0))
    average = Average(module, decay=0.3)
    expected = torch.tensor(torch.nan, dtype=torch.float64)
    for taken in range(1, 9):
        with torch.no_grad():
            module.weight.fill_(float(taken**2))
            module.count.fill_(taken)
        average.update(taken)
        decay = 0.0 if taken == 1 else min(0.3, (1 + taken) / (10 + taken))
        new = module.weight.detach().clone()
        expected = new if taken == 1 else decay * expected + (1 - decay) * new
        torch.testing.assert_close(
            average.module.weight, expected.reshape(1, 1), rtol=1e-12, atol=0
        )
        assert average.module.count == taken
        assert module.weight.item() == taken**2


def test_the_average_starts_as_what_the_first_step_initialized() -> None:
    step = step_of(settings(average=0.99))
    step.step(*images().batch(slice(0, 64)), stream(0, "noise"))
    assert_same(step.weights(), dict(step.classifier.density.state_dict()))
    assert step.weights()["flow.levels.0.steps.0.shift"].abs().max() > 0
    step.step(*images().batch(slice(64, 128)), stream(0, "noise"))
    assert differ(step.weights(), dict(step.classifier.density.state_dict()))


def test_the_average_is_validated_kept_as_best_and_left_in_the_classifier(tmp_path: Path) -> None:
    step = step_of(settings(average=0.9))
    averaged = train(tmp_path, step=step, average=0.9)
    validation = open_dataset("digits").validation
    density = step.classifier.density  # has the best weights
    raw = {
        name.removeprefix("module.density."): tensor
        for name, tensor in last(tmp_path).training.items()
    }
    assert any(not torch.equal(raw[name], averaged[name]) for name in averaged if name in raw)
    assert_same(dict(density.state_dict()), averaged)
    plain = MaximumLikelihood(step.classifier, Reweight(), SETTINGS, 4)
    assert plain.validate(validation, 0) == last(tmp_path).metrics


def test_training_with_an_average_resumes_from_both_sets_of_weights(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", average=0.9, epochs=3)
    assert differ(whole, train(tmp_path / "plain", epochs=3))
    train(tmp_path / "parts", average=0.9, epochs=3, max_steps=6)
    assert_same(train(tmp_path / "parts", average=0.9, epochs=3, resume=True), whole)
    assert_same(last(tmp_path / "parts").training, last(tmp_path / "whole").training)


def test_the_average_changes_nothing_in_training(tmp_path: Path) -> None:
    train(tmp_path / "averaged", average=0.5)
    raw = last(tmp_path / "averaged").training
    for name, tensor in train(tmp_path / "plain").items():
        assert torch.equal(raw.get(f"module.density.{name}", tensor), tensor)


class WithCritic(TrainingStep):
    """Two networks with one optimizer each, as in adversarial training."""

    monitor = "critic"
    advice = "Use another critic."

    def __init__(self, breaks_at: int = -1) -> None:
        super().__init__(GenerativeClassifier(TrainedGaussian(dtype=torch.float32)))
        self.breaks_at, self._taken = breaks_at, 0
        self.critic = nn.Sequential(nn.Flatten(), nn.Linear(64, 1))
        for parameter in self.critic.parameters():
            nn.init.zeros_(parameter)
        networks = (self.classifier.density, self.critic)
        self.optimizers = [
            torch.optim.SGD(network.parameters(), 0.1, momentum=0.9) for network in networks
        ]

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        return {"density": self.classifier.density, "critic": self.critic}

    @property
    def taken(self) -> int:
        return self._taken

    def step(self, x: Tensor, label: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        if self.taken == self.breaks_at:
            raise NonFiniteLoss(f"loss is not finite at step {self.taken}.")
        noise = torch.rand(x.shape, generator=generator)
        likelihood = Likelihood()(self.classifier(x), label).mean()
        critic = (self.critic(x) - self.critic(noise)).mean() + 1e-2 * likelihood
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        critic.backward()
        for optimizer in self.optimizers:
            optimizer.step()
        self._taken += 1
        return {"critic": critic.detach()}

    def validate(self, data: ImageDataset, seed: int) -> dict[str, float]:
        x, _ = data.batch(slice(0, 10))
        return {"critic": self.critic(x).mean().item()}

    def state(self) -> dict[str, Tensor]:
        return {
            f"{number}.{i}": state["momentum_buffer"]
            for number, optimizer in enumerate(self.optimizers)
            for i, state in enumerate(optimizer.state.values())
        }

    def restore(self, state: Mapping[str, Tensor], taken: int) -> None:
        self._taken = taken
        for number, optimizer in enumerate(self.optimizers):
            for i, parameter in enumerate(optimizer.param_groups[0]["params"]):
                optimizer.state[parameter]["momentum_buffer"] = state[f"{number}.{i}"]


def test_a_step_with_two_networks_is_trained_saved_and_resumed(tmp_path: Path) -> None:
    train(tmp_path / "whole", step=WithCritic(), epochs=3)
    train(tmp_path / "parts", step=WithCritic(), epochs=3, max_steps=5)
    train(tmp_path / "parts", step=WithCritic(), epochs=3, resume=True)
    whole, parts = last(tmp_path / "whole"), last(tmp_path / "parts")
    assert whole.training.keys() >= {"module.critic.1.weight", "state.0.0", "state.1.0"}
    assert_same(whole.training, parts.training)
    assert_same(whole.weights, parts.weights)


def test_a_step_gives_its_own_advice(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteLoss, match=r"step 4 is kept\. Use another critic\."):
        train(tmp_path, step=WithCritic(breaks_at=5))


def test_another_kind_of_step_does_not_resume(tmp_path: Path) -> None:
    train(tmp_path, step=WithCritic(), epochs=1)
    step = MaximumLikelihood(GenerativeClassifier(TrainedGaussian()), Likelihood(), SETTINGS, 4)
    with pytest.raises(RunError, match=r"objective was .*WithCritic, now Likelihood\(\)"):
        train(tmp_path, step=step, resume=True)


def test_a_frozen_or_evaluated_classifier_is_trained_all_the_same() -> None:
    step = gaussian_step(dropout=0.5)
    step.classifier.eval()
    first = step.step(*batch(), stream(0, "noise"))
    assert step.classifier.density.training
    evaluated = GenerativeClassifier(TrainedGaussian(0.5).eval()).double()
    second = MaximumLikelihood(evaluated, Reweight(), Training(), 4).step(
        *batch(), stream(0, "noise")
    )
    assert first["loss"] == second["loss"]
