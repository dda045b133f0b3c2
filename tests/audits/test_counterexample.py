"""The counterexample: classifier, detector and attack agree with its closed forms."""

import json
import math
from dataclasses import replace

import pytest
import torch

from condgen.audits.counterexample import classifiers, confirm, undetected_mistakes
from condgen.detectors import LikelihoodThreshold, flagged
from condgen.errors import CondgenError
from condgen.theory import Counterexample, counterexample
from condgen.theory.annuli import move_into_ball

REAL = counterexample(0.1, 0.01, 0.5)
SMALL = counterexample(1.0, 0.4, 0.9)
SEEDS = range(4)


@pytest.fixture
def samples() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(2, (3000,), generator=generator)
    return classifiers(REAL)[0].density.sample(label, generator=generator), label


@pytest.mark.parametrize("example", [SMALL, REAL], ids=lambda example: f"d={example.dimension}")
def test_samples_confirm_each_closed_form(example: Counterexample) -> None:
    lines = [line for seed in SEEDS for line in confirm(example, samples=20_000, seed=seed)]
    assert len(lines) == 10 * len(SEEDS)
    # Of 40 intervals of 95 %; more than 5 misses have probability 1 %.
    assert sum(not line.confirmed for line in lines) <= 5
    if example is SMALL:
        assert all(line.n > 1000 for line in lines)


WRONG = {
    "lambda_1": replace(SMALL, log_lambda_1=SMALL.log_lambda_1 + 0.1),
    "lambda_2": replace(SMALL, log_lambda_2=SMALL.log_lambda_2 + 0.1),
    "radius": replace(SMALL, radius=SMALL.radius - 0.05),
}


@pytest.mark.parametrize("name", WRONG)
def test_samples_refute_the_closed_forms_of_another_example(name: str) -> None:
    right, wrong = confirm(SMALL, samples=20_000), confirm(WRONG[name], samples=20_000)
    closed = {line.name: line.exact for line in wrong}
    missed = [
        line for line in right if not line.interval[0] <= closed[line.name] <= line.interval[1]
    ]
    assert len(missed) >= 3


def test_the_attack_flips_a_third_confidently_nearby_and_unseen(
    samples: tuple[torch.Tensor, torch.Tensor],
) -> None:
    x, label = samples
    p, q = classifiers(REAL)
    moved = move_into_ball(x, REAL.radius)
    before, after, truth = q(x), q(moved), p(moved)
    assert (before.label == label).double().mean() > 0.98
    hit = (before.label == label) & (after.label != label) & (truth.label == label)
    assert hit.double().mean() > 1 / 3
    assert (after.log_posterior.exp().amax(1)[hit] > 0.99).all()
    assert (truth.log_posterior.exp().amax(1)[hit] >= 0.99 - 1e-9).all()
    assert ((x - moved)[hit].norm(dim=1) < REAL.radius).all()
    assert not flagged(LikelihoodThreshold(REAL.median_bits_per_dim), after)[hit].any()
    assert torch.equal(undetected_mistakes(REAL, x, moved), hit)


def test_a_detector_that_stops_the_attack_refuses_all_of_the_models_own_samples() -> None:
    _, q = classifiers(REAL)
    generator = torch.Generator().manual_seed(0)
    own = q(q.density.sample(torch.randint(2, (3000,), generator=generator), generator=generator))
    attacked_bits = REAL.median_bits_per_dim - REAL.log_density_gain / (35 * math.log(2))
    assert flagged(LikelihoodThreshold(attacked_bits - 1e-6), own).all()


def test_what_is_no_undetected_mistake_is_not_counted(
    samples: tuple[torch.Tensor, torch.Tensor],
) -> None:
    x, _ = samples
    assert not undetected_mistakes(REAL, x, x).any()
    farther_than_the_radius = 0.5 * move_into_ball(x, REAL.radius)
    assert not undetected_mistakes(REAL, x, farther_than_the_radius).any()
    to_the_other_class = x / x.norm(dim=1, keepdim=True) * 2.5
    assert not undetected_mistakes(REAL, x, to_the_other_class).any()


def test_the_same_seed_gives_the_same_samples() -> None:
    assert confirm(REAL, samples=500, seed=1)[2] == confirm(REAL, samples=500, seed=1)[2]
    assert confirm(REAL, samples=500, seed=1)[2] != confirm(REAL, samples=500, seed=2)[2]


def test_where_no_sample_tells_nothing_is_claimed() -> None:
    line = confirm(REAL, samples=5)[-1]
    assert line.n == 0
    assert line.confirmed
    assert (
        line.summary()["estimate"]
        is line.summary()["interval"]
        is line.summary()["confirmed"]
        is None
    )
    # An interval from one sample is unbounded.
    json.dumps([line.summary() for line in confirm(REAL, samples=2)], allow_nan=False)


def test_one_sample_is_too_few() -> None:
    with pytest.raises(CondgenError, match="1 samples give no interval"):
        confirm(REAL, samples=1)
