"""Common tests of all registered detectors."""

import json
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from condgen import (
    DiagonalGaussian,
    GenerativeClassifier,
    LikelihoodThreshold,
    Prediction,
    Typicality,
    open_dataset,
)
from condgen.attacks import CarliniWagner, Evade, Misclassify
from condgen.classifier import predict
from condgen.config import DetectorSettings, Quantile
from condgen.config.validation import chosen
from condgen.data.dataset import Splits
from condgen.detectors import Detector, base, build_detector, flagged, score, warnings_of
from condgen.detectors.base import scale_of, summary_of
from condgen.errors import CondgenError
from condgen.registry import DETECTORS


@pytest.fixture(scope="module")
def splits() -> Splits:
    return open_dataset("digits")


@pytest.fixture(scope="module")
def classifier(splits: Splits) -> GenerativeClassifier:
    return GenerativeClassifier(
        DiagonalGaussian.fitted(*splits.train.batch(slice(None)), pixel_levels=17)
    ).eval()


def settings(name: str, threshold: object) -> DetectorSettings:
    return chosen("detector", {"name": name, "threshold": threshold}, "test")


@pytest.mark.parametrize("name", DETECTORS.names())
def test_a_quantile_accepts_that_share_of_the_validation_images(
    name: str, classifier, splits: Splits
) -> None:
    detector = build_detector(settings(name, {"quantile": 0.9}), classifier, splits)
    held_out = predict(classifier, splits.validation.batch(slice(None))[0])
    assert (~flagged(detector, held_out)).double().mean() == pytest.approx(
        0.9, abs=1 / len(splits.validation)
    )


@pytest.mark.parametrize("name", DETECTORS.names())
def test_a_threshold_by_value_is_that_value(name: str, classifier, splits: Splits) -> None:
    assert build_detector(settings(name, 3), classifier, splits).threshold == 3.0


@pytest.mark.parametrize("name", DETECTORS.names())
def test_scores_do_not_depend_on_the_batch(name: str, classifier, splits: Splits) -> None:
    detector = build_detector(settings(name, {"quantile": 0.9}), classifier, splits)
    x, _ = splits.test.batch(slice(0, 20))
    together = score(detector, predict(classifier, x))
    alone = torch.cat([score(detector, predict(classifier, image[None])) for image in x])
    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize("name", DETECTORS.names())
def test_a_detector_says_its_name_and_unit(name: str, classifier, splits: Splits) -> None:
    detector = build_detector(settings(name, 3.0), classifier, splits)
    assert summary_of(detector) == {"name": name, "unit": detector.unit, "threshold": 3.0}
    assert detector.unit


@pytest.mark.parametrize("name", DETECTORS.names())
def test_detector_aware_attacks_evade_it(name: str, classifier, splits: Splits) -> None:
    detector = build_detector(settings(name, {"quantile": 0.99}), classifier, splits)
    x, label = splits.test.batch(slice(0, 40))
    prediction = predict(classifier, x)
    usable = (prediction.label == label) & ~flagged(detector, prediction)
    x, label = x[usable], label[usable]
    result = CarliniWagner(searches=2, steps=25)(classifier, x, Evade(Misclassify(label), detector))
    assert result.reached.double().mean() > 0.5
    found = predict(classifier, result.perturbed[result.reached])
    assert (found.label != label[result.reached]).all()
    assert not flagged(detector, found).any()


def test_typicality_flags_both_sides() -> None:
    prediction = Prediction(
        torch.tensor([[-100.0], [-60.0], [-140.0], [-101.0]]), torch.zeros(1), dims=10
    )
    detector = Typicality(threshold=30.0)
    detector.mean = torch.tensor(-100.0)
    assert score(detector, prediction).tolist() == [0.0, 40.0, 40.0, 1.0]
    assert flagged(detector, prediction).tolist() == [False, True, True, False]
    assert flagged(LikelihoodThreshold(100 / (10 * math.log(2))), prediction).tolist() == [
        False,
        False,
        True,
        True,
    ]


def test_typicality_takes_its_mean_from_validation_images(classifier, splits: Splits) -> None:
    detector = build_detector(settings("typicality", 5.0), classifier, splits)
    nats = predict(classifier, splits.validation.batch(slice(None))[0]).log_marginal
    assert detector.mean == nats.mean()


def test_what_is_not_ready_says_so() -> None:
    prediction = Prediction(torch.zeros(2, 3), torch.zeros(3), dims=4)
    with pytest.raises(CondgenError, match="Typicality is not fitted"):
        score(Typicality(1.0), prediction)
    with pytest.raises(CondgenError, match="LikelihoodThreshold has no threshold"):
        flagged(LikelihoodThreshold(), prediction)
    for threshold in (math.nan, math.inf, "1.4x", None):
        with pytest.raises(CondgenError, match="expected a finite number of bits/dim"):
            LikelihoodThreshold().threshold = threshold


class Ink(Detector):
    """Flag images with much ink: a score of the image instead of the likelihood."""

    name, unit = "ink", "mean pixel"

    def score(self, prediction: Prediction) -> Tensor:
        return prediction.x.flatten(1).mean(1)

    def scale(self, dims: int) -> float:
        return 100.0 * dims


def test_a_detector_may_look_at_the_image(classifier, splits: Splits) -> None:
    x, label = splits.test.batch(slice(0, 10))
    detector = Ink.at_quantile(score(Ink(), predict(classifier, x), fitting=True), 0.9)
    assert flagged(detector, predict(classifier, x)).sum() == 1
    result = CarliniWagner(searches=2, steps=25)(classifier, x, Evade(Misclassify(label), detector))
    assert result.reached.any()
    assert (result.perturbed[result.reached].flatten(1).mean(1) < detector.threshold).all()


def test_evade_weighs_the_margin_with_the_detectors_own_scale() -> None:
    prediction = Prediction(torch.zeros(2, 3), torch.zeros(3), dims=4, x=torch.ones(2, 4))
    goal = Misclassify(torch.tensor([0, 1]))
    assert Evade(goal, Ink(0.5)).margins(prediction)[:, 1].tolist() == [200.0, 200.0]
    assert Evade(goal, Ink(0.5), weight=2.0).margins(prediction)[:, 1].tolist() == [1.0, 1.0]
    assert scale_of(LikelihoodThreshold(1.0), 4) == pytest.approx(4 * math.log(2))


def test_any_object_with_a_score_and_a_threshold_will_do(classifier, splits: Splits) -> None:
    class Plain:
        threshold = 4.0

        def score(self, prediction: Prediction) -> Tensor:
            return prediction.bits_per_dim

    prediction = predict(classifier, splits.test.batch(slice(0, 5))[0])
    assert torch.equal(flagged(Plain(), prediction), flagged(LikelihoodThreshold(4.0), prediction))
    assert summary_of(Plain()) == {"name": "Plain", "unit": "", "threshold": 4.0}
    assert scale_of(Plain(), 64) == scale_of(LikelihoodThreshold(1.0), 64)


def test_the_default_threshold_is_a_quantile() -> None:
    assert chosen("detector", {}, "test").threshold == Quantile(quantile=0.99)


def test_a_threshold_that_a_uniform_model_reaches_is_said() -> None:
    """A uniform model has log2(256) = 8 or log2(17) = 4.09 bits/dim."""
    density = DiagonalGaussian(torch.rand(2, 1, 4, 4))
    (said,) = warnings_of(LikelihoodThreshold(8.6), density)
    assert "the threshold of 8.60 bits/dim lets a uniform model pass (8.00 for 256 levels)" in said
    assert warnings_of(LikelihoodThreshold(8.0), density)
    assert not warnings_of(LikelihoodThreshold(7.99), density)
    density.pixel_levels = 17
    assert warnings_of(LikelihoodThreshold(7.99), density)
    density.pixel_levels = None
    assert not warnings_of(LikelihoodThreshold(8.6), density)


def test_a_two_sided_detector_is_judged_by_its_own_score() -> None:
    density, detector = DiagonalGaussian(torch.rand(2, 1, 4, 4)), Typicality(30.0)
    assert not warnings_of(detector, density)
    uniform = -16 * math.log(256)
    for mean, warned in ((uniform + 29, True), (uniform - 29, True), (uniform + 31, False)):
        detector.mean = torch.tensor(mean)
        assert bool(warnings_of(detector, density)) is warned


@pytest.mark.parametrize(
    ("quantile", "images", "most"),
    [
        (0.99, 54, "0.9814"),
        (0.99, 99, "0.9898"),
        (0.99, 100, ""),
        (0.9, 10, ""),
        (0.9, 9, "0.8888"),
        (1.0, 5, ""),
        (0.5, 2, ""),
    ],
)
def test_a_quantile_that_so_few_images_cannot_support_is_said(
    quantile: float, images: int, most: str
) -> None:
    density = DiagonalGaussian(torch.rand(2, 1, 4, 4))
    detector = LikelihoodThreshold.at_quantile(torch.linspace(1, 2, images), quantile)
    said = warnings_of(detector, density)
    assert len(said) == bool(most)
    if most:
        assert f"the {quantile:g} quantile of {images} validation images" in said[0]
        assert f"a quantile of {most} at most" in said[0]
        assert not warnings_of(
            LikelihoodThreshold.at_quantile(torch.linspace(1, 2, images), float(most)), density
        )
    detector.threshold = 3.0
    assert not warnings_of(detector, density)


@pytest.mark.parametrize("name", DETECTORS.names())
def test_records_carry_what_is_said_of_a_threshold(name: str, classifier, splits: Splits) -> None:
    few = replace(splits, validation=splits.validation.take(slice(0, 54)))
    detector = build_detector(settings(name, {"quantile": 0.99}), classifier, few)
    noted = summary_of(detector, classifier.density)
    assert any("0.99 quantile of 54" in line for line in noted["warnings"])
    assert json.loads(json.dumps(noted)) == noted
    enough = build_detector(settings(name, {"quantile": 0.99}), classifier, splits)
    # One Gaussian per digit is worse than a uniform model.
    said = summary_of(enough, classifier.density)["warnings"]
    assert len(said) == 1
    assert "lets a uniform model pass" in said[0]
    assert "warnings" not in summary_of(
        build_detector(settings(name, 0.5), classifier, splits), classifier.density
    )


@pytest.mark.parametrize("name", DETECTORS.names())
def test_validation_images_are_not_all_in_memory_at_once(
    name: str, classifier, splits: Splits, monkeypatch
) -> None:
    whole = build_detector(settings(name, {"quantile": 0.9}), classifier, splits)
    asked = []
    monkeypatch.setattr(base, "images_at_once", lambda _: 50)
    hook = classifier.register_forward_pre_hook(
        lambda _, arguments: asked.append(arguments[0].untyped_storage().nbytes())
    )
    parts = build_detector(settings(name, {"quantile": 0.9}), classifier, splits)
    hook.remove()
    assert max(asked) == 50 * 64 * 4
    assert parts.threshold == pytest.approx(whole.threshold, rel=1e-5)


def test_scores_that_are_no_numbers_give_no_threshold_and_say_how_many() -> None:
    scores = torch.tensor([1.0, 2.0, math.inf, math.inf])
    with pytest.raises(
        CondgenError, match=r"quantile 0.99 of 4 images is \w+: 2 of their scores are not finite"
    ):
        LikelihoodThreshold.at_quantile(scores, 0.99)
    assert LikelihoodThreshold.at_quantile(scores, 0.25).threshold == 1.75


def test_a_mean_log_likelihood_that_is_no_number_is_refused(splits: Splits) -> None:
    class Impossible(DiagonalGaussian):
        def class_log_prob(self, x: Tensor) -> Tensor:
            return super().class_log_prob(x) - math.inf

    classifier = GenerativeClassifier(Impossible(torch.rand(10, 1, 8, 8), pixel_levels=17))
    with pytest.raises(
        CondgenError,
        match="of 180 validation images is -inf: the model gives some of them probability 0",
    ):
        build_detector(settings("typicality", 5.0), classifier, splits)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64, torch.bool], ids=str)
def test_scores_of_any_kind_are_numbers_of_float32(dtype: torch.dtype) -> None:
    class Rounded(Detector):
        def score(self, prediction: Prediction) -> Tensor:
            return (prediction.bits_per_dim > 1).to(dtype)

    prediction = Prediction(torch.tensor([[-1.0], [-100.0]]), torch.zeros(1), dims=4)
    found = score(Rounded(0.5), prediction)
    assert (found.dtype, found.tolist()) == (torch.float32, [0.0, 1.0])
