"""Objectives against direct computation, and their settings."""

import math
from functools import partial

import pytest
import torch

from condgen.classifier import GenerativeClassifier, Prediction
from condgen.config import ObjectiveSettings, load_preset
from condgen.errors import ConfigError
from condgen.registry import OBJECTIVES
from condgen.training.maximum_likelihood import (
    LikelihoodSettings,
    MaximumLikelihood,
    ReweightSettings,
)
from condgen.training.objectives import Likelihood, Ramp, Reweight, Split, described
from tests.training.small import SETTINGS, TrainedGaussian, tiny_density


def test_reweight_is_likelihood_plus_weighted_cross_entropy() -> None:
    prediction = Prediction(torch.tensor([[-10.0, -12.0]]), torch.tensor([0.5, 0.5]).log(), dims=4)
    expected = 10 / 4 + 3 * math.log(1 + math.exp(-2))
    assert Reweight(alpha=3.0)(prediction, torch.tensor([0])).item() == pytest.approx(
        expected, rel=1e-6
    )


def test_the_split_objective_needs_a_subspace() -> None:
    prediction = Prediction(torch.zeros(1, 2), torch.tensor([0.5, 0.5]).log(), dims=4)
    message = r"objective 'split' needs a model with a class subspace; set model\.prior=split"
    with pytest.raises(ConfigError, match=message):
        Split(alpha=1.0)(prediction, torch.tensor([0]))
    mixture, split = (tiny_density(0, preset) for preset in ("digits-reweight", "digits-split"))
    with pytest.raises(ConfigError, match=message):
        MaximumLikelihood(GenerativeClassifier(mixture), Split(), SETTINGS, 4)
    assert MaximumLikelihood(GenerativeClassifier(split), Split(), SETTINGS, 4).taken == 0


@pytest.mark.parametrize(
    ("preset", "objective"),
    [
        ("digits-base", Likelihood()),
        ("digits-reweight", Ramp(Reweight(0.3), 1.0)),
        ("digits-split", Ramp(Split(0.1), 1.0)),
    ],
)
def test_presets_name_their_objective(preset: str, objective: object) -> None:
    config = load_preset(preset)
    step = config.objective.step(GenerativeClassifier(tiny_density(0, preset)), config.training, 4)
    assert isinstance(step, MaximumLikelihood)
    assert step.objective == objective


@pytest.mark.parametrize("name", OBJECTIVES.names())
def test_every_objective_has_settings_with_a_name(name: str) -> None:
    settings = OBJECTIVES.get(name)()
    assert isinstance(settings, ObjectiveSettings)
    assert settings.name == name


def test_older_pages_may_have_an_alpha_that_had_no_effect() -> None:
    older = {"name": "likelihood", "alpha": 1.0}
    assert (
        LikelihoodSettings.model_validate(LikelihoodSettings.from_older(older)).name == "likelihood"
    )
    assert ReweightSettings.from_older({"alpha": 2.0}) == {"alpha": 2.0}


def test_equal_objectives_are_described_equally() -> None:
    class Own:
        __call__ = Likelihood.__call__

    assert described(Own()) == described(Own()) != described(Likelihood())
    assert described(Reweight(0.5)) == "Reweight(alpha=0.5)"
    assert "loss_of_mine" in described(loss_of_mine)
    partial_step = MaximumLikelihood(
        GenerativeClassifier(TrainedGaussian()), partial(loss_of_mine), SETTINGS, 4
    )
    assert partial_step.description


def loss_of_mine(prediction: Prediction, label: torch.Tensor) -> torch.Tensor:
    return Likelihood()(prediction, label)


def test_a_ramp_ends_at_the_objective_itself() -> None:
    ramp = Ramp(Reweight(2.0), over=0.25)
    assert [ramp.at(done).alpha for done in (0.0, 0.125, 0.25, 1.0)] == [0.0, 1.0, 2.0, 2.0]
    assert Ramp(Split(), 0.5).needs_class_subspace
    prediction = Prediction(torch.tensor([[-10.0, -12.0]]), torch.tensor([0.5, 0.5]).log(), dims=4)
    label = torch.tensor([1])
    # Validation uses the full weight.
    assert torch.equal(ramp(prediction, label), Reweight(2.0)(prediction, label))


def test_training_weighs_the_class_term_by_how_far_it_is() -> None:
    """The first step of a ramp uses the likelihood alone; later steps add the class term."""
    training = SETTINGS.model_copy(update={"epochs": 2, "max_steps": None})
    x, label = (
        torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0)),
        torch.arange(8) % 10,
    )
    losses = {}
    for name, objective in {
        "ramp": Ramp(Reweight(1.0), 1.0),
        "base": Likelihood(),
        "full": Reweight(1.0),
    }.items():
        step = MaximumLikelihood(
            GenerativeClassifier(tiny_density(0, "digits-reweight")), objective, training, 4
        )
        first = step.step(x, label, torch.Generator().manual_seed(1))["loss"].item()
        step.optimizer.taken = 4  # of 8 steps
        losses[name] = first, step.step(x, label, torch.Generator().manual_seed(2))["loss"].item()
    assert losses["ramp"][0] == losses["base"][0] < losses["full"][0]
    assert losses["base"][1] < losses["ramp"][1]


def test_settings_make_a_ramp() -> None:
    assert ReweightSettings(alpha=0.5, ramp=0.5).objective() == Ramp(Reweight(0.5), 0.5)
    assert ReweightSettings(alpha=0.5).objective() == Reweight(0.5)
    with pytest.raises(ConfigError, match="ramp"):
        load_preset("digits-reweight", ["objective.ramp=1.5"])
