"""The density interface, its checks, Bayes' rule and the detector."""

import math

import numpy as np
import pytest
import torch

from condgen.classifier import GenerativeClassifier, Prediction
from condgen.density import ClassConditionalDensity
from condgen.detectors import LikelihoodThreshold, flagged
from condgen.errors import CondgenError, ImageError
from condgen.models.gaussian import DiagonalGaussian
from condgen.validation import check_labels

MEAN = torch.tensor([[0.25], [0.75]])


class Table(ClassConditionalDensity):
    """Two pixels of two levels: four images with known probabilities."""

    num_classes, event_shape, pixel_levels = 2, (2,), 2

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer(
            "probability",
            torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1]], dtype=torch.float64),
        )

    def class_log_prob(self, x: torch.Tensor) -> torch.Tensor:
        return self.probability.log().T[(x.long() * torch.tensor([2, 1])).sum(-1)]


EVERY_IMAGE = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])


def test_a_discrete_density_sums_to_one_through_the_classifier() -> None:
    prediction = GenerativeClassifier(Table(), prior=torch.tensor([0.25, 0.75]))(EVERY_IMAGE)
    assert prediction.log_marginal.exp().sum().item() == pytest.approx(1)
    assert prediction.log_joint.exp().sum().item() == pytest.approx(1)
    torch.testing.assert_close(
        prediction.log_posterior.exp().sum(-1), torch.ones(4, dtype=torch.float64)
    )


def test_bayes_rule_by_hand() -> None:
    prediction = GenerativeClassifier(Table(), prior=torch.tensor([0.25, 0.75]))(EVERY_IMAGE[:1])
    assert prediction.log_posterior.exp()[0, 0].item() == pytest.approx(
        0.1 * 0.25 / (0.1 * 0.25 + 0.4 * 0.75)
    )
    assert prediction.label.item() == 1
    assert prediction.bits_per_dim.item() == pytest.approx(-math.log2(0.1 * 0.25 + 0.4 * 0.75) / 2)


def test_gaussian_density_integrates_to_one_in_stored_units() -> None:
    density = DiagonalGaussian(MEAN, scale=0.05)
    x = torch.linspace(0, 1, 20001, dtype=torch.float64)[:, None]
    per_stored_value = density.double().class_log_prob(x).exp() * 255 / 20000
    torch.testing.assert_close(
        per_stored_value.sum(0), torch.ones(2, dtype=torch.float64), rtol=1e-4, atol=0
    )


def test_gaussian_fits_by_maximum_likelihood() -> None:
    label = torch.arange(2).repeat(5000)
    x = (
        MEAN[label] + 0.05 * torch.randn(10000, 1, generator=torch.Generator().manual_seed(0))
    ).clamp(0, 1)
    fitted = DiagonalGaussian.fitted(x, label)
    torch.testing.assert_close(fitted.mean, MEAN, atol=3e-3, rtol=0)
    assert math.exp(fitted.log_scale) == pytest.approx(0.05, rel=0.03)


BAD_IMAGES = {
    "an array": (
        np.zeros((2, 1)),
        r"images: found a ndarray, expected a tensor; use torch.as_tensor\(images\)",
    ),
    "integers": (
        torch.zeros(2, 1, dtype=torch.uint8),
        "torch.uint8, expected floating point; divide stored values by 255",
    ),
    "shape": (torch.zeros(2, 3), r"shape \(2, 3\), the model expects \(N, 1\)"),
    "no batch": (torch.zeros(1), r"shape \(1,\)"),
    "nan": (torch.tensor([[0.5], [math.nan]]), "hold a NaN"),
    "above": (torch.tensor([[1.5]]), r"span \[1.5, 1.5\], expected \[0, 1\]"),
    "below": (torch.tensor([[-0.25]]), r"span \[-0.25, -0.25\]"),
    "infinite": (torch.tensor([[math.inf]]), r"span \[inf, inf\]"),
}


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_bad_images_are_refused_with_a_way_out(name: str) -> None:
    x, message = BAD_IMAGES[name]
    with pytest.raises(ImageError, match=message):
        GenerativeClassifier(DiagonalGaussian(MEAN))(x)


@pytest.mark.parametrize(
    "label",
    [torch.tensor([0, 2]), torch.tensor([-1]), torch.tensor([0.0]), torch.tensor([[0]])],
    ids=str,
)
def test_bad_labels_are_refused(label: torch.Tensor) -> None:
    with pytest.raises(ImageError, match="labels"):
        check_labels(label, num_classes=2)


@pytest.mark.parametrize("label", [[0, 1], np.array([0, 1]), 0], ids=str)
def test_labels_that_are_no_tensor_are_refused_with_a_way_out(label: object) -> None:
    with pytest.raises(
        ImageError,
        match=r"labels: found a \w+, expected a tensor; use torch.as_tensor\(labels\)",
    ):
        check_labels(label, num_classes=2)


def test_a_prior_that_is_no_tensor_is_refused_with_a_way_out() -> None:
    with pytest.raises(CondgenError, match="prior is a list, expected a tensor of 2 numbers"):
        GenerativeClassifier(DiagonalGaussian(MEAN), [0.5, 0.5])


@pytest.mark.parametrize(
    "prior", [torch.tensor([0.5, 0.6]), torch.tensor([1.0]), torch.tensor([0.0, 1.0])], ids=str
)
def test_a_prior_that_is_none_is_refused(prior: torch.Tensor) -> None:
    with pytest.raises(CondgenError, match="sum to 1"):
        GenerativeClassifier(DiagonalGaussian(MEAN), prior)


def test_a_model_that_cannot_be_sampled_says_so() -> None:
    with pytest.raises(CondgenError, match="DiagonalGaussian cannot be sampled"):
        DiagonalGaussian(MEAN).sample(torch.tensor([0]), generator=torch.Generator())


def test_threshold_at_a_quantile_accepts_that_share() -> None:
    x = torch.rand(1000, 1, generator=torch.Generator().manual_seed(0))
    prediction = GenerativeClassifier(DiagonalGaussian(MEAN, scale=0.05))(x)
    detector = LikelihoodThreshold.at_quantile(prediction.bits_per_dim, 0.9)
    assert flagged(detector, prediction).float().mean().item() == pytest.approx(0.1, abs=0.002)


def test_the_quantile_one_accepts_every_image() -> None:
    x = torch.rand(1000, 1, generator=torch.Generator().manual_seed(0))
    prediction = GenerativeClassifier(DiagonalGaussian(MEAN, scale=0.05))(x)
    assert not flagged(
        LikelihoodThreshold.at_quantile(prediction.bits_per_dim, 1.0), prediction
    ).any()


@pytest.mark.parametrize("quantile", [0.0, 1.1, math.nan])
def test_a_quantile_outside_its_range_is_refused(quantile: float) -> None:
    with pytest.raises(CondgenError, match="0 < quantile <= 1"):
        LikelihoodThreshold.at_quantile(torch.rand(5), quantile)


def test_a_score_that_is_nan_is_refused() -> None:
    prediction = Prediction(torch.tensor([[-1.0], [math.nan]]), torch.zeros(1), dims=1)
    assert flagged(LikelihoodThreshold(1e9), prediction).tolist() == [False, True]


def test_a_threshold_may_be_any_kind_of_number() -> None:
    assert type(LikelihoodThreshold(torch.tensor(1.5)).threshold) is float


def test_a_threshold_that_is_no_number_is_refused() -> None:
    with pytest.raises(CondgenError, match="finite number of bits/dim"):
        LikelihoodThreshold(math.nan)


def answering(answer: object) -> ClassConditionalDensity:
    class Mine(ClassConditionalDensity):
        num_classes, event_shape = 3, (2,)

        def class_log_prob(self, x: torch.Tensor) -> torch.Tensor:
            return answer  # type: ignore[return-value]

    return Mine()


ANSWERS = {
    "too few columns": (
        torch.zeros(4, 2),
        r"torch.float32 of shape \(4, 2\), expected .* \(4, 3\)",
    ),
    "one image": (torch.zeros(3), r"torch.float32 of shape \(3,\)"),
    "integers": (torch.zeros(4, 3, dtype=torch.int64), "torch.int64 of shape"),
    "NumPy": (torch.zeros(4, 3).numpy(), "a ndarray"),
    "a pair": ((torch.zeros(4, 3), None), "a tuple"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_of_ones_own_model_is_checked(name: str) -> None:
    answer, message = ANSWERS[name]
    with pytest.raises(CondgenError, match=rf"Mine\.class_log_prob gave {message}"):
        GenerativeClassifier(answering(answer))(torch.zeros(4, 2))
    GenerativeClassifier(answering(torch.zeros(4, 3)))(torch.zeros(4, 2))


def test_a_model_of_ones_own_says_its_classes_and_shape() -> None:
    for name, value in (
        ("num_classes", None),
        ("num_classes", 3.0),
        ("num_classes", 0),
        ("event_shape", [2]),
        ("event_shape", (0,)),
    ):
        density = answering(torch.zeros(4, 3))
        setattr(density, name, value)
        with pytest.raises(CondgenError, match=rf"Mine\.{name} is .*set it in the class"):
            GenerativeClassifier(density)
    with pytest.raises(
        CondgenError,
        match=r"the model is a Linear; make it a subclass of condgen\.ClassConditionalDensity",
    ):
        GenerativeClassifier(torch.nn.Linear(2, 2))  # type: ignore[arg-type]


def test_numpys_whole_numbers_and_compiled_models_are_taken() -> None:
    density = answering(torch.zeros(4, 3))
    density.num_classes, density.event_shape = np.int64(3), torch.Size([2])
    for model in (density, torch.compile(density, backend="eager")):
        assert GenerativeClassifier(model)(torch.zeros(4, 2)).label.tolist() == [0] * 4


def test_a_forward_that_hides_the_method_is_noticed() -> None:
    class Hidden(type(answering(None))):  # type: ignore[misc]
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.zeros(len(x), 3)

    with pytest.raises(CondgenError, match="overrides `forward`"):
        GenerativeClassifier(Hidden())(torch.zeros(2, 2))


@pytest.mark.parametrize("detector", [1.4, None, LikelihoodThreshold, object()])
def test_what_is_no_detector_is_refused(detector: object) -> None:
    prediction = GenerativeClassifier(DiagonalGaussian(MEAN))(torch.zeros(2, 1))
    with pytest.raises(
        CondgenError, match=r"the detector is .*such as LikelihoodThreshold\(1\.4\)"
    ):
        flagged(detector, prediction)  # type: ignore[arg-type]
