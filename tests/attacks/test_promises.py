"""Guarantees of every attack: one criterion of success for any detector, precision and mode."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from condgen import (
    ClassConditionalDensity,
    DiagonalGaussian,
    GenerativeClassifier,
    LikelihoodThreshold,
    Prediction,
)
from condgen.attacks import (
    Attack,
    Boundary,
    BrendelBethge,
    CarliniWagner,
    Evade,
    HopSkipJump,
    Misclassify,
    StartingPoints,
    Target,
)
from condgen.attacks.goals import decided, reached
from condgen.attacks.logits import Logits
from condgen.attacks.result import ALREADY, NOT_REACHED, REACHED
from condgen.classifier import predict
from condgen.detectors import flagged
from condgen.errors import CondgenError
from condgen.testing import check_attack
from tests.attacks.models import images, two_gaussians

DOCUMENT = Path(__file__).parents[2] / "docs" / "attacks.md"


class Votes:
    """A detector whose only scores are 0 and 1."""

    def __init__(self, threshold: float, limit: float = 11.0):
        self.threshold, self.limit = threshold, limit

    def score(self, prediction: Prediction) -> Tensor:
        return (prediction.bits_per_dim > self.limit).float()


class Count(Votes):
    """The same detector with integer scores."""

    def score(self, prediction: Prediction) -> Tensor:
        return (prediction.bits_per_dim > self.limit).long()


SEVERAL = [
    CarliniWagner(),
    BrendelBethge(),
    Boundary(queries=800),
    HopSkipJump(queries=800),
]


@pytest.mark.parametrize("attack", SEVERAL, ids=lambda attack: type(attack).__name__)
@pytest.mark.parametrize("kind", [Votes, Count])
def test_a_score_equal_to_the_threshold_is_accepted_by_goal_and_detector(
    attack: Attack, kind: type[Votes]
) -> None:
    mean = torch.tensor([[0.3, 0.3], [0.7, 0.7]])
    classifier, label = GenerativeClassifier(DiagonalGaussian(mean, 0.1)), torch.tensor([0])
    if not isinstance(attack, CarliniWagner):
        attack = type(attack)(**{**vars(attack), "starting_points": StartingPoints(mean[1:])})
    found = []
    for detector in (kind(0.0), kind(0.5)):
        result = attack(classifier, mean[:1], Evade(Misclassify(label), detector))
        assert result.status == (REACHED,)
        assert not flagged(detector, predict(classifier, result.perturbed)).any()
        found.append(result.l2)
    torch.testing.assert_close(*found, rtol=0.05, atol=0)


RANDOM = torch.Generator().manual_seed(0)
SCORES = torch.randint(-3, 4, (400,), generator=RANDOM).float()


class Given(Votes):
    def score(self, prediction: Prediction) -> Tensor:
        return SCORES


@pytest.mark.parametrize("weight", [None, 1e-30, 1.0, 1e30])
@pytest.mark.parametrize("threshold", [-2.0, 0.0, 1.0, 0.1])
def test_the_goal_is_reached_exactly_where_classifier_and_detector_say_so(
    threshold: float, weight: float | None
) -> None:
    """Integers make ties between classes and with the threshold frequent."""
    prediction = Prediction(
        torch.randint(-3, 0, (400, 3), generator=RANDOM).float(), torch.zeros(3), dims=2
    )
    label = torch.randint(3, (400,), generator=RANDOM)
    target, detector = (label + 1) % 3, Given(threshold)
    accepted = ~flagged(detector, prediction)
    for goal, expected in (
        (Misclassify(label), prediction.label != label),
        (Target(target, label), prediction.label == target),
    ):
        assert torch.equal(reached(goal.margins(prediction)), expected)
        assert torch.equal(
            reached(Evade(goal, detector, weight).margins(prediction)), expected & accepted
        )


def test_a_margin_that_is_decided_keeps_its_gradient_and_no_number_stays_none() -> None:
    margin = torch.tensor([0.0, 1e-46, -1.0, torch.inf, torch.nan], requires_grad=True)
    made = decided(2 * margin, torch.tensor([True, True, False, False, False]))
    assert (made < 0).tolist() == [True, True, False, False, False]
    assert made[4].isnan()
    made[:3].sum().backward()
    assert margin.grad.tolist() == [2.0, 2.0, 2.0, 0.0, 0.0]
    assert not reached(decided(torch.tensor([[torch.nan]]), torch.tensor([[False]])))


def test_an_infinite_score_at_an_infinite_threshold_is_accepted() -> None:
    prediction = Prediction(
        torch.tensor([[-torch.inf, -torch.inf], [-1.0, -2.0]]), torch.zeros(2), dims=2
    )
    everything = LikelihoodThreshold(1.0)
    everything._threshold = torch.inf
    assert not flagged(everything, prediction).any()
    margins = Evade(Misclassify(torch.tensor([1, 1])), everything).margins(prediction)
    assert (margins[:, 1] < 0).all()


MODES = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "enable_grad": torch.enable_grad,
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("attack", SEVERAL, ids=lambda attack: type(attack).__name__)
def test_the_callers_gradient_mode_does_not_matter(attack: Attack, mode: str) -> None:
    classifier = two_gaussians()
    expected = attack(classifier, *_arguments())
    with MODES[mode]():
        result = attack(classifier, *_arguments())
    assert result.status == expected.status
    assert torch.equal(result.perturbed, expected.perturbed)
    assert not result.perturbed.requires_grad


def _arguments() -> tuple[Tensor, Misclassify]:
    x, label = images(4)
    return x, Misclassify(label)


class Coin(ClassConditionalDensity):
    """Random at each query, like active dropout. A fraction ``share`` of the answers is right."""

    num_classes, event_shape = 2, (1, 1, 16)

    def __init__(self, share: float):
        super().__init__()
        self.share, self.random = share, torch.Generator().manual_seed(0)

    def class_log_prob(self, x: Tensor) -> Tensor:
        draws = torch.rand(len(x), generator=self.random) - self.share
        return torch.stack([-draws, draws], dim=1) + 0 * x.flatten(1).sum(1, keepdim=True)


class AnyImage(Attack):
    def perturb(self, search, index, generator):
        for _ in range(40):
            search.margins(search.x[index] + 0.01, index)
        return {}


@pytest.mark.parametrize("stored", [False, True])
def test_a_random_model_is_asked_once_and_not_until_it_gives_in(stored: bool) -> None:
    number = 400
    classifier, x = GenerativeClassifier(Coin(0.8)), torch.full((number, 1, 1, 16), 0.5)
    result = AnyImage()(classifier, x, Misclassify(torch.zeros(number, dtype=torch.long)))
    met = torch.tensor([status != NOT_REACHED and status != ALREADY for status in result.status])
    assert met.sum() > 250
    share = (result.reached_quantized if stored else result.reached)[met].double().mean()
    assert share == pytest.approx(0.2 * (0.2 if stored else 1), abs=0.07)


class WritesIntoTheOriginals(Attack):
    def perturb(self, search, index, generator):
        search.x += 0.3
        search.margins(search.clip(search.x[index]), index)
        return {}


def test_distances_are_from_the_callers_images_whatever_an_author_writes() -> None:
    x, label = images(4)
    before = x.clone()
    result = WritesIntoTheOriginals()(two_gaussians(), x, Misclassify(label))
    assert torch.equal(x, before)
    assert result.reached.any()
    found = (result.perturbed - before).flatten(1).norm(dim=1)
    assert torch.equal(result.l2[result.reached], found[result.reached])


BAD: dict[str, tuple[Callable[[], object], str]] = {
    "half a step": (
        lambda: CarliniWagner(steps=2.5),
        "steps = 2.5, expected 1 or more, a whole number",
    ),
    "no steps": (
        lambda: CarliniWagner(steps=None),
        "steps = None, expected 1 or more, a whole number",
    ),
    "a text": (lambda: Boundary(first="far"), "first = 'far', expected 1e-06 to 1"),
    "half a try": (lambda: StartingPoints(tries=1.5), "tries = 1.5, expected 1 or more"),
    "an array of starts": (lambda: StartingPoints(images(2)[0].numpy()), "images: found a ndarray"),
    "no detector": (
        lambda: Evade(Misclassify(torch.tensor([0])), None),
        "the detector is None; expected an object",
    ),
    "a weight in words": (
        lambda: Evade(Misclassify(torch.tensor([0])), LikelihoodThreshold(1.0), "1"),
        "weight is '1'",
    ),
    "logits of a density": (
        lambda: Logits(two_gaussians().density),
        r"give GenerativeClassifier\(your model\)",
    ),
    "logits without a detector": (lambda: Logits(two_gaussians(), 1.4), "the detector is 1.4"),
    "a seed": (
        lambda: CarliniWagner()(two_gaussians(), *_arguments(), generator=3),
        "generator is 3, expected torch.Generator",
    ),
    "an attack's class": (
        lambda: check_attack(CarliniWagner),
        r"expected an object such as CarliniWagner\(\)",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_are_refused_in_a_sentence(name: str) -> None:
    call, message = BAD[name]
    with pytest.raises(CondgenError, match=message):
        call()


def documented_attack() -> Attack:
    """The attack class in docs/attacks.md, without the audit call below it."""
    (code,) = (
        block
        for block in re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
        if "(Attack)" in block
    )
    names: dict[str, object] = {}
    exec(code.split("\n\n\naudits.")[0], names)
    (made,) = (
        value()
        for value in names.values()
        if isinstance(value, type) and issubclass(value, Attack) and value is not Attack
    )
    return made


def test_the_documented_attack_passes_its_own_check() -> None:
    assert [
        (check.name, check.found) for check in check_attack(documented_attack()) if not check.passed
    ] == []


def test_the_document_names_what_an_attack_may_ask() -> None:
    from condgen.attacks import Search

    search = Search(two_gaussians(), *_arguments())
    search.margins(search.x, search.everyone)
    named = set(re.findall(r"search\.(\w+)", DOCUMENT.read_text()))
    assert {"gradients", "margins", "reached", "clip", "best"} <= named
    assert all(hasattr(search, each) for each in named)
