"""The classifier with any model: bounds, precision, devices, modes, memory, class priors."""

import copy
import json
import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from condgen import ClassConditionalDensity, DiagonalGaussian, GenerativeClassifier, ImageDataset
from condgen.attacks import CarliniWagner, Misclassify
from condgen.classifier import Prediction, images_at_once, predict
from condgen.config import Images
from condgen.errors import CondgenError, ConfigError, ImageError
from condgen.models.distributions import GAUSSIAN, class_log_prob, log_prob
from condgen.models.glow.settings import GlowSettings
from condgen.models.own import OwnModel
from condgen.models.summary import summarize
from condgen.runs.restoring import build_classifier, class_prior
from tests.conftest import tiny_glow

MEAN = torch.tensor([0.4, 0.6]).view(2, 1, 1, 1).expand(2, 1, 4, 4).clone()
X = (
    MEAN[torch.arange(12) % 2]
    + 0.1 * torch.randn(12, 1, 4, 4, generator=torch.Generator().manual_seed(0))
).clamp(0, 1)


class Wrapped(ClassConditionalDensity):
    """A wrapper of the Gaussians. Subclasses change its input or output."""

    num_classes, event_shape = 2, (1, 4, 4)

    def __init__(self, scale: float = 0.12):
        super().__init__()
        self.inner = DiagonalGaussian(MEAN, scale)

    def class_log_prob(self, x: Tensor) -> Tensor:
        return self.inner.class_log_prob(x)


class Between(Wrapped):
    """The same model for images with other bounds."""

    def __init__(self, low: float, high: float):
        super().__init__()
        self.bounds = (low, high)

    def class_log_prob(self, x: Tensor) -> Tensor:
        low, high = self.bounds
        return self.inner.class_log_prob((x - low) / (high - low))

    def sample(
        self, label: Tensor, temperature: float = 1.0, *, generator: torch.Generator
    ) -> Tensor:
        low, high = self.bounds
        return low + (high - low) * self.inner.mean[label]


BOUNDS = [(-1.0, 1.0), (0.0, 255.0), (-0.1307 / 0.3081, 0.8693 / 0.3081), (-2, 2)]


@pytest.mark.parametrize("bounds", BOUNDS, ids=str)
def test_images_are_scaled_to_the_models_bounds(bounds: tuple[float, float]) -> None:
    plain, other = GenerativeClassifier(Wrapped()), GenerativeClassifier(Between(*bounds))
    ends = torch.cat([X, torch.zeros_like(X[:1]), torch.ones_like(X[:1])])
    torch.testing.assert_close(
        predict(other, ends).bits_per_dim, predict(plain, ends).bits_per_dim, rtol=1e-4, atol=1e-4
    )
    goal = Misclassify(predict(plain, X).label)
    ours, theirs = (
        CarliniWagner(searches=1, steps=20)(each, X, goal).l2 for each in (plain, other)
    )
    torch.testing.assert_close(theirs, ours, rtol=0.02, atol=1e-3)
    drawn = other.sample(torch.tensor([0, 1]), generator=torch.Generator())
    torch.testing.assert_close(drawn, MEAN)


def test_images_in_the_models_own_bounds_are_refused_and_continuous_ones_are_not_scaled() -> None:
    symmetric = Between(-1.0, 1.0)
    with pytest.raises(
        ImageError, match=r"expected \[0, 1\] \(the model's \[-1.0, 1.0\] come from them\)"
    ):
        GenerativeClassifier(symmetric)(2 * X - 1)
    scaled = GenerativeClassifier(symmetric)(X).class_log_prob
    symmetric.pixel_levels = None
    torch.testing.assert_close(
        GenerativeClassifier(symmetric)(2 * X - 1).class_log_prob, scaled, rtol=1e-5, atol=1e-4
    )


@pytest.mark.parametrize(
    "bounds", [None, (1.0, 0.0), (0.0, math.inf), [0, 1], (0.0,), ("0", "1")], ids=str
)
def test_bounds_that_are_none_are_refused(bounds: object) -> None:
    density = Wrapped()
    density.bounds = bounds  # type: ignore[assignment]
    with pytest.raises(
        CondgenError, match=r"Wrapped\.bounds is .*expected two numbers such as \(0.0, 1.0\)"
    ):
        GenerativeClassifier(density)


def test_levels_that_are_none_are_refused() -> None:
    density = Wrapped()
    density.pixel_levels = 1
    with pytest.raises(
        CondgenError, match="pixel_levels is 1, expected a whole number of at least 2"
    ):
        GenerativeClassifier(density)


class WritesIntoItsInput(Wrapped):
    def class_log_prob(self, x: Tensor) -> Tensor:
        return self.inner.class_log_prob(x.sub_(0.5)) + self.inner.class_log_prob(x.add_(0.5))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_model_that_writes_into_its_input_changes_nobodys_images(dtype: torch.dtype) -> None:
    x, classifier = X.to(dtype), GenerativeClassifier(WritesIntoItsInput())
    before = x.clone()
    prediction = predict(classifier, x)
    assert torch.equal(x, before)
    assert torch.equal(prediction.x, before)
    result = CarliniWagner(searches=1, steps=10)(classifier, x, Misclassify(prediction.label))
    assert torch.equal(x, before)
    assert result.reached.all()
    assert torch.allclose(result.l2, (result.perturbed - before).flatten(1).norm(dim=1))


class AnswersIn(Wrapped):
    def __init__(self, dtype: torch.dtype, scale: float = 0.12):
        super().__init__(scale)
        self.dtype = dtype

    def class_log_prob(self, x: Tensor) -> Tensor:
        return super().class_log_prob(x).to(self.dtype)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_answers_in_16_bits_are_summed_in_float32_and_their_rounding_is_said_once(
    dtype: torch.dtype,
) -> None:
    classifier = GenerativeClassifier(AnswersIn(dtype, scale=0.02))
    with pytest.warns(
        UserWarning,
        match=rf"AnswersIn returns {dtype}, which rounds its log-likelihoods by .* nats",
    ):
        prediction = predict(classifier, X)
    assert prediction.bits_per_dim.dtype == prediction.log_joint.dtype == torch.float32
    assert prediction.bits_per_dim.numpy().dtype == np.float32
    predict(classifier, X)  # no second warning: warnings are errors here


def test_16_bits_that_round_little_are_no_reason_to_warn() -> None:
    small = GenerativeClassifier(AnswersIn(torch.float16, scale=0.12))
    small.density.inner.pixel_levels = 2
    assert predict(small, X).class_log_prob.abs().max() < 100


class Layer(Wrapped):
    """A model with a matrix product, which requires equal precisions."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(16, 2)

    def class_log_prob(self, x: Tensor) -> Tensor:
        return self.layer(x.flatten(1)) - 50


@pytest.mark.parametrize(
    "model", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str
)
@pytest.mark.parametrize(
    "images", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str
)
@pytest.mark.filterwarnings("ignore:.*rounds its log-likelihoods")
def test_images_of_any_precision_meet_a_model_of_any(
    model: torch.dtype, images: torch.dtype
) -> None:
    classifier = GenerativeClassifier(Layer().to(model))
    prediction = classifier(X.to(images))
    exact = GenerativeClassifier(classifier.density.float())(X).class_log_prob
    torch.testing.assert_close(prediction.class_log_prob.float(), exact, rtol=0.02, atol=0.1)
    result = CarliniWagner(searches=1, steps=2)(
        classifier, X.to(images), Misclassify(prediction.label)
    )
    assert result.perturbed.dtype == (torch.float64 if images == torch.float64 else torch.float32)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64], ids=str)
def test_a_prior_of_any_precision_gives_the_attack_of_float32(dtype: torch.dtype) -> None:
    prior = torch.tensor([0.25, 0.75])
    results = [
        CarliniWagner()(
            GenerativeClassifier(Wrapped(), each), X, Misclassify(torch.arange(12) % 2)
        ).l2
        for each in (prior, prior.to(dtype))
    ]
    assert torch.equal(*results)


def test_answers_in_float64_do_not_stop_an_attack() -> None:
    ours, theirs = (GenerativeClassifier(each) for each in (Wrapped(), AnswersIn(torch.float64)))
    goal = Misclassify(predict(ours, X).label)
    first, second = (CarliniWagner()(each, X, goal) for each in (ours, theirs))
    assert second.perturbed.dtype == torch.float32
    torch.testing.assert_close(second.l2, first.l2, rtol=1e-3, atol=1e-4)
    assert predict(theirs, X).class_log_prob.dtype == torch.float64


def test_a_prior_that_is_part_of_a_graph_can_be_copied() -> None:
    prior = torch.zeros(2, requires_grad=True).softmax(0)
    assert copy.deepcopy(GenerativeClassifier(Wrapped(), prior)).class_prior == "uniform"


@pytest.mark.parametrize("prior", ["class-mixture", "split"])
@pytest.mark.parametrize("constant_memory", [False, True])
def test_autocast_around_a_flow_changes_nothing(prior: str, constant_memory: bool) -> None:
    classifier = GenerativeClassifier(
        tiny_glow(prior, strength=0.05, constant_memory=constant_memory)
    )
    x, label = X[:4], torch.tensor([0, 1, 2, 0])

    def answers() -> list[Tensor]:
        loss = classifier(x).log_joint.gather(1, label[:, None]).sum()
        gradients = torch.autograd.grad(loss, list(classifier.density.parameters()))
        drawn = classifier.density.sample(label, generator=torch.Generator().manual_seed(0))
        attacked = CarliniWagner(searches=1, steps=5)(classifier, x, Misclassify(label)).perturbed
        return [classifier(x).class_log_prob, drawn, attacked, *gradients]

    alone = answers()
    with torch.autocast("cpu", torch.bfloat16):
        under = answers()
    for index, (first, second) in enumerate(zip(alone, under, strict=True)):
        close = (
            {"rtol": 0.05, "atol": 0.2 * float(first.abs().max())}
            if index > 2
            else {"rtol": 0, "atol": 0}
        )
        # PyTorch rounds the gradient of the linear layer.
        torch.testing.assert_close(second, first, **close)


def test_a_layer_of_ones_own_may_be_run_under_autocast() -> None:
    classifier, label = GenerativeClassifier(Layer()), torch.arange(12) % 2
    with (
        torch.autocast("cpu", torch.bfloat16),
        pytest.warns(UserWarning, match="returns torch.bfloat16"),
    ):
        result = CarliniWagner(searches=1, steps=5)(classifier, X, Misclassify(label))
    assert result.perturbed.dtype == torch.float32


def test_a_classifier_is_where_its_density_is() -> None:
    """On the meta device."""
    built = GenerativeClassifier(Wrapped().to("meta"), torch.tensor([0.25, 0.75]))
    assert built.device.type == built.log_prior.device.type == "meta"
    classifier = GenerativeClassifier(Wrapped())
    classifier.density.to("meta")
    assert classifier.device.type == "meta"


def test_prediction_leaves_every_module_in_its_mode() -> None:
    density = Wrapped()
    density.kept, density.dropout = torch.nn.Dropout(), torch.nn.Dropout()
    classifier = GenerativeClassifier(density).train()
    density.kept.eval()
    seen = []
    density.dropout.register_forward_hook(lambda module, _, __: seen.append(module.training))
    density.class_log_prob = lambda x: density.inner.class_log_prob(  # type: ignore[method-assign]
        density.dropout(x)
    )
    assert torch.equal(predict(classifier, X).class_log_prob, predict(classifier, X).class_log_prob)
    assert seen == [False, False]
    assert classifier.training
    assert density.dropout.training
    assert not density.kept.training


IMPOSSIBLE = Prediction(
    torch.tensor([[-math.inf, -math.inf], [-math.inf, -5.0], [-4.0, -5.0]]),
    torch.tensor([0.25, 0.75]).log(),
    dims=4,
)


def test_an_image_that_no_class_can_have_made_says_nothing_of_its_class() -> None:
    posterior = IMPOSSIBLE.log_posterior.exp()
    torch.testing.assert_close(posterior[:2], torch.tensor([[0.25, 0.75], [0.0, 1.0]]))
    assert not posterior.isnan().any()
    assert IMPOSSIBLE.bits_per_dim.tolist()[:2] == [
        math.inf,
        pytest.approx((5 - math.log(0.75)) / 4 / math.log(2)),
    ]


def test_the_gradient_of_a_posterior_is_a_number_beside_an_impossible_image() -> None:
    scores = IMPOSSIBLE.class_log_prob.clone().requires_grad_()
    Prediction(scores, IMPOSSIBLE.log_prior, 4).log_posterior[:, 1].sum().backward()
    assert torch.isfinite(scores.grad).all()


BAD_CALLS = {
    "a bare model": (
        lambda c: predict(c.density, X),
        r"a Wrapped; give GenerativeClassifier\(your model\)",
    ),
    "a class": (lambda c: predict(GenerativeClassifier, X), "the class GenerativeClassifier; give"),
    "nothing": (lambda c: predict(None, X), "a NoneType; give"),
    "an array": (lambda c: predict(c, X.numpy()), "images: found a ndarray"),
    "no batch": (lambda c: predict(c, X, batch=0), "batch is 0, expected a whole number"),
    "a mean of one number": (
        lambda c: DiagonalGaussian(torch.tensor(0.5)),
        "mean is torch.float32 of shape",
    ),
    "a list of means": (lambda c: DiagonalGaussian([[0.5]]), "mean: found a list"),
    "no scale": (lambda c: DiagonalGaussian(MEAN, 0), "scale is 0, expected a positive number"),
    "a class without images": (
        lambda c: DiagonalGaussian.fitted(X, torch.full((12,), 1)),
        r"classes \[0\] have no image",
    ),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_what_makes_no_sense_is_refused_in_a_sentence(name: str) -> None:
    call, message = BAD_CALLS[name]
    with pytest.raises(CondgenError, match=message):
        call(GenerativeClassifier(Wrapped()))


class Largest(TorchDispatchMode):
    """Record the size of the largest tensor that an operation creates."""

    most = 0

    def __torch_dispatch__(self, function, types, arguments=(), settings=None):
        made = function(*arguments, **(settings or {}))
        for tensor in made if isinstance(made, (tuple, list)) else [made]:
            if (
                isinstance(tensor, Tensor)
                and tensor.untyped_storage().nbytes() >= tensor.numel() * tensor.itemsize
            ):
                self.most = max(self.most, tensor.numel())
        return made


@pytest.mark.parametrize("copied", [False, True])
def test_a_gaussian_prior_needs_no_array_of_images_classes_and_dimensions(copied: bool) -> None:
    settings = GlowSettings(levels=1, blocks=1, width=4)
    glow = settings.build(Images(shape=[1, 8, 8], classes=200, levels=256), 0).eval()
    glow = copy.deepcopy(glow) if copied else glow
    with torch.no_grad(), Largest() as seen:
        glow.class_log_prob(torch.rand(32, 1, 8, 8))
    assert seen.most < 32 * 200 * 128 / 4


def test_the_quadratic_form_is_the_gaussian() -> None:
    random = torch.Generator().manual_seed(0)
    mean, log_scale = (
        2 * torch.randn(7, 500, generator=random) + 3,
        0.3 * torch.randn(7, 500, generator=random),
    )
    z = mean[torch.arange(20) % 7] + torch.randn(20, 500, generator=random)
    exact = log_prob(GAUSSIAN, z[:, None].double(), mean.double(), log_scale.double())
    torch.testing.assert_close(
        class_log_prob(GAUSSIAN, z, mean, log_scale).double(), exact, rtol=1e-6, atol=5e-3
    )


def test_gradients_of_the_quadratic_form_are_those_of_the_gaussian() -> None:
    parts = [
        torch.randn(shape, 6, generator=torch.Generator().manual_seed(shape)).double()
        for shape in (5, 3, 4)
    ]
    z, mean, log_scale = parts[0], parts[1], parts[2][:3]
    inputs = [part.requires_grad_() for part in (z, mean, log_scale)]
    weight = torch.randn(5, 3, generator=torch.Generator().manual_seed(9)).double()
    quadratic, plain = (
        class_log_prob(GAUSSIAN, *inputs),
        log_prob(GAUSSIAN, z[:, None], mean, log_scale),
    )
    pairs = (torch.autograd.grad((weight * value).sum(), inputs) for value in (quadratic, plain))
    for found, expected in zip(*pairs, strict=True):
        torch.testing.assert_close(found, expected)


def test_few_images_pass_at_once_where_classes_and_dimensions_are_many() -> None:
    def answering(classes: int, size: int) -> DiagonalGaussian:
        return DiagonalGaussian(torch.zeros(classes, 1, size, size))

    assert images_at_once(answering(10, 32)) == 256
    assert images_at_once(answering(1000, 64)) == 8
    assert images_at_once(answering(100, 64)) == 80
    assert images_at_once(answering(100_000, 32)) == 1
    passes, classifier = [], GenerativeClassifier(answering(1000, 64))
    classifier.density.register_forward_pre_hook(
        lambda _, arguments: passes.append(len(arguments[0]))
    )
    predict(classifier, torch.rand(20, 1, 64, 64))
    assert passes == [8, 8, 4]


class Exact(ClassConditionalDensity):
    """The true densities of two overlapping classes, which the data contains 95 to 5."""

    event_shape, num_classes, pixel_levels = (1, 1, 1), 2, 256

    def class_log_prob(self, x: Tensor) -> Tensor:
        z = (255 * x.flatten(1) - torch.tensor([120.0, 136.0])) / 20
        return -0.5 * z.square() - math.log(20 * math.sqrt(2 * math.pi))


def exact() -> Exact:
    return Exact()


def exact_with_prior() -> GenerativeClassifier:
    return GenerativeClassifier(Exact(), torch.tensor([0.5, 0.5]))


def other_prior() -> GenerativeClassifier:
    return GenerativeClassifier(Exact(), torch.tensor([0.1, 0.9]))


def unbalanced(number: int = 4000) -> ImageDataset:
    random = np.random.default_rng(0)
    label = (random.random(number) < 0.05).astype(np.int64)
    values = random.normal(np.where(label, 136, 120), 20).round().clip(0, 255).astype(np.uint8)
    return ImageDataset(values.reshape(-1, 1, 1, 1), label, ("common", "rare"))


@pytest.mark.parametrize(
    ("prior", "accuracy"), [("uniform", 0.66), ("counts", 0.95), ([0.95, 0.05], 0.95)]
)
@pytest.mark.parametrize("factory", ["exact", "exact_with_prior"])
def test_the_class_prior_is_a_setting_of_any_model(
    factory: str, prior: str | list[float], accuracy: float
) -> None:
    data = unbalanced()
    images = Images(shape=[1, 1, 1], classes=2, levels=256, counts=data.class_counts())
    settings = OwnModel.model_validate({"name": f"{__name__}:{factory}", "class_prior": prior})
    classifier = build_classifier(settings, images, 0)
    x, label = data.batch(slice(None))
    assert (predict(classifier, x).label == label).double().mean().item() == pytest.approx(
        accuracy, abs=0.01
    )
    assert json.loads(settings.model_dump_json())["class_prior"] == prior
    if prior == "uniform":
        assert classifier.class_prior == "uniform"
    else:
        assert classifier.class_prior == pytest.approx([0.95, 0.05], abs=0.01)


def test_a_factory_with_another_prior_contradicts_the_page() -> None:
    images = Images(shape=[1, 1, 1], classes=2, levels=256, counts=[95, 5])
    settings = OwnModel.model_validate({"name": f"{__name__}:other_prior", "class_prior": "counts"})
    with pytest.raises(ConfigError, match="another class prior"):
        build_classifier(settings, images, 0)
    kept = build_classifier(OwnModel.model_validate({"name": f"{__name__}:other_prior"}), images, 0)
    assert kept.class_prior == [0.1, 0.9]


@pytest.mark.parametrize(
    ("setting", "counts", "said"),
    [
        ("counts", [3, 0], "class 1 has no training image; use 'uniform'"),
        ("counts", [], "the number of training images per class is not recorded"),
        ([0.5, 0.6], [1, 1], r"expected 'uniform', 'counts', or 2 positive numbers that sum to 1"),
        ([0.5, 0.25, 0.25], [1, 1], "or 2 positive numbers"),
        ([1.5, -0.5], [], "positive numbers that sum to 1"),
    ],
)
def test_a_prior_that_cannot_be_is_refused(
    setting: str | list[float], counts: list[int], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        class_prior(setting, counts)


def test_a_summary_under_no_grad_counts_what_training_keeps() -> None:
    with torch.no_grad():
        under = summarize(tiny_glow())
    assert under == summarize(tiny_glow())
    assert under.activation_bytes > 0
