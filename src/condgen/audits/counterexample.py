"""Section 2 by experiment: Monte Carlo estimates of each closed form."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from condgen.audits import intervals
from condgen.classifier import GenerativeClassifier
from condgen.detectors import LikelihoodThreshold, flagged
from condgen.errors import CondgenError
from condgen.prediction import Prediction
from condgen.randomness import stream
from condgen.theory.annuli import data_density, model_density, move_into_ball
from condgen.theory.counterexample import Counterexample

NUMBERS_AT_ONCE = 1_000_000
ROUNDINGS = 16  # tolerance of a comparison, in machine epsilons of the largest log-likelihood


@dataclass(frozen=True)
class Confirmation:
    """A closed form and its estimate from samples.

    Args:
        name: The quantity.
        exact: The closed form.
        estimate: The estimate from samples; NaN if no sample is relevant.
        interval: 95 % interval: one in twenty misses the exact value by chance.
        n: Number of relevant samples.
    """

    name: str
    exact: float
    estimate: float
    interval: tuple[float, float]
    n: int

    @property
    def confirmed(self) -> bool:
        return self.interval[0] <= self.exact <= self.interval[1]

    def summary(self) -> dict[str, Any]:
        """The fields as JSON; ``None`` if no sample is relevant, and for an infinite end."""
        found: dict[str, Any] = {"estimate": None, "interval": None, "confirmed": None}
        if self.n:
            interval = [end if math.isfinite(end) else None for end in self.interval]
            found = {"estimate": self.estimate, "interval": interval, "confirmed": self.confirmed}
        return {"name": self.name, "exact": self.exact, "n": self.n, **found}


def confirm(
    example: Counterexample, *, samples: int = 100_000, seed: int = 0
) -> tuple[Confirmation, ...]:
    """Estimate by Monte Carlo the quantities that :mod:`condgen.theory` has in closed form.

    Args:
        example: The counterexample.
        samples: Number of samples of p, and of q.
        seed: Seed of the samples.

    Raises:
        CondgenError: If there are fewer than two samples.

    Examples:
        >>> from condgen.theory import counterexample
        >>> attackable, *_ = confirm(counterexample(0.1, 0.01, 0.5), samples=1000)
        >>> attackable.confirmed
        True
    """
    if samples < 2:
        raise CondgenError(f"{samples} samples give no interval; use 2 or more, better 100000.")
    p, q = classifiers(example)
    of_p = _join(_observe_p(example, p, q, x, y) for x, y in _draws(p, samples, stream(seed, "p")))
    of_q = _join(_observe_q(example, p, q, x, y) for x, y in _draws(q, samples, stream(seed, "q")))
    return (*_about_p(example, of_p), *_about_q(example, of_q))


def classifiers(
    example: Counterexample, edge_width: float | None = None
) -> tuple[GenerativeClassifier, GenerativeClassifier]:
    """The Bayes-optimal classifier and the model, with p(y) = 1/2, in double precision.

    ``edge_width`` is that of the model.
    """
    halves = torch.full((2,), 0.5, dtype=torch.float64)
    p, q = data_density(example), model_density(example, edge_width)
    return GenerativeClassifier(p, halves).eval(), GenerativeClassifier(q, halves).eval()


def undetected_mistakes(example: Counterexample, x: Tensor, perturbed: Tensor) -> Tensor:
    """Test which perturbed images meet the proposition's conditions 1 to 5.

    The detector accepts images whose density is at least q's median.

    Args:
        example: The counterexample.
        x: Images before the attack, shape ``(N, d)``.
        perturbed: The same images after any attack, shape ``(N, d)``.

    Returns:
        Bool, shape ``(N,)``.
    """
    p, q = classifiers(example)
    with torch.no_grad():
        p_before, q_before, p_after, q_after = p(x), q(x), p(perturbed), q(perturbed)
    correct = q_before.label == p_before.label
    confident = torch.stack(
        [
            _confident(prediction, example.delta)
            for prediction in (p_before, q_before, p_after, q_after)
        ]
    ).all(0)
    flipped = (q_after.label != q_before.label) & (p_after.label == p_before.label)
    near = torch.linalg.vector_norm(x - perturbed, dim=1) < example.radius
    undetected = ~flagged(LikelihoodThreshold(example.median_bits_per_dim), q_after)
    return torch.stack([correct, confident, flipped, near, undetected]).all(0)


def _confident(prediction: Prediction, delta: float) -> Tensor:
    return prediction.log_posterior.amax(1).exp() >= 1 - delta - _tolerance(prediction)


def _tolerance(prediction: Prediction) -> Tensor:
    """Rounding error of a difference of log-likelihoods."""
    size = prediction.log_joint.abs().amax(1).clamp_min(1)
    return size * (ROUNDINGS * torch.finfo(size.dtype).eps)


def _draws(
    classifier: GenerativeClassifier, samples: int, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of images and labels, each with about :data:`NUMBERS_AT_ONCE` pixels."""
    at_once = max(1, NUMBERS_AT_ONCE // classifier.density.dims)
    for number in [at_once] * (samples // at_once) + [samples % at_once]:
        label = torch.randint(2, (number,), generator=generator)
        yield classifier.density.sample(label, generator=generator), label


Observations = dict[str, Tensor]


def _join(parts: Iterator[Observations]) -> Observations:
    collected = list(parts)
    return {name: torch.cat([part[name] for part in collected]) for name in collected[0]}


@torch.no_grad()
def _observe_p(
    example: Counterexample, p: GenerativeClassifier, q: GenerativeClassifier, x: Tensor, y: Tensor
) -> Observations:
    moved = move_into_ball(x, example.radius)
    norm = torch.linalg.vector_norm(x, dim=1)
    return {
        "label": y,
        "in_ball": norm <= 1,
        "in_small_ball": norm <= example.radius,
        "log_ratio": _log_ratio(p(x), q(x), y),
        "attacked": undetected_mistakes(example, x, moved),
        "distance": torch.linalg.vector_norm(x - moved, dim=1),
    }


@torch.no_grad()
def _observe_q(
    example: Counterexample, p: GenerativeClassifier, q: GenerativeClassifier, x: Tensor, y: Tensor
) -> Observations:
    prediction = q(x)
    above_median = prediction.log_marginal - example.log_median_density
    return {
        "label": y,
        "in_ball": torch.linalg.vector_norm(x, dim=1) <= 1,
        "log_ratio": _log_ratio(prediction, p(x), y),
        "at_least_median": above_median >= -_tolerance(prediction),
        "as_dense_as_attack": above_median >= example.log_density_gain - _tolerance(prediction),
    }


def _log_ratio(own: Prediction, other: Prediction, y: Tensor) -> Tensor:
    return (own.log_joint - other.log_joint).gather(1, y[:, None]).squeeze(1)


def _about_p(example: Counterexample, observed: Observations) -> tuple[Confirmation, ...]:
    in_ball, attacked = observed["in_ball"], observed["attacked"]
    mass = (example.lambda_1 + example.lambda_2) / 2
    return (
        _share("samples of p attacked: conditions 1 to 5", example.attackable, attacked),
        _mean("length of these attacks", example.mean_distance, observed["distance"][attacked]),
        _mean("KL(p || q), nats", example.kl_p_q, observed["log_ratio"]),
        _share("samples of p in the unit ball", mass, in_ball),
        _share(
            "samples of p within the radius of the origin",
            mass * example.radius**example.dimension,
            observed["in_small_ball"],
        ),
        _share(
            "p(0 | unit ball): samples there of class 0",
            example.confidence_p,
            observed["label"][in_ball] == 0,
        ),
    )


def _about_q(example: Counterexample, observed: Observations) -> tuple[Confirmation, ...]:
    return (
        _mean("KL(q || p), nats", example.kl_q_p, observed["log_ratio"]),
        _share(
            "samples of q at or above the median density",
            example.share_at_least_median,
            observed["at_least_median"],
        ),
        _share(
            "samples of q as dense as an attacked image",
            example.share_as_dense_as_attack,
            observed["as_dense_as_attack"],
        ),
        _share(
            "q(1 | unit ball): samples there of class 1",
            example.confidence_q,
            observed["label"][observed["in_ball"]] == 1,
        ),
    )


def _share(name: str, exact: float, hits: Tensor) -> Confirmation:
    n, found = len(hits), int(hits.sum())
    if n == 0:
        return Confirmation(name, exact, np.nan, (0.0, 1.0), 0)
    return Confirmation(name, exact, found / n, intervals.wilson(found, n), n)


def _mean(name: str, exact: float, values: Tensor) -> Confirmation:
    if len(values) == 0:
        return Confirmation(name, exact, np.nan, (-np.inf, np.inf), 0)
    return Confirmation(name, exact, *intervals.mean(values.numpy()), len(values))
