"""PixelCNN++: exact on tiny spaces, causal, equal to its formula, and fast to sample from."""

import math
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import Tensor

from condgen import ImageDataset, LikelihoodThreshold, Run, experiments, load_preset, machine
from condgen.attacks import (
    Attack,
    Boundary,
    BrendelBethge,
    CarliniWagner,
    HopSkipJump,
    Misclassify,
    StartingPoints,
)
from condgen.audits import interpolation
from condgen.classifier import GenerativeClassifier
from condgen.errors import CondgenError, RunError
from condgen.models.pixelcnn import PixelCNN, logistic, streams
from condgen.models.pixelcnn import model as model_module
from condgen.models.pixelcnn.convolution import Convolution, Upsampling
from condgen.randomness import stream
from condgen.testing import check_density
from condgen.training.checkpoints import load_weights

KINDS = {
    "one component per class": {},
    "a shared mixture": {"components": 3, "class_bias": True},
    "both": {"class_bias": True},
}


def tiny(
    shape: tuple[int, int, int] = (1, 4, 4), classes: int = 2, strength: float = 0.3, **settings
) -> PixelCNN:
    """A model in float64 with arbitrary weights, so that nothing is zero by accident."""
    sizes = {"filters": 6, "blocks": 1, "levels": 2, "pixel_levels": 4, **settings}
    model = PixelCNN(classes, event_shape=shape, **sizes).double()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            scale = model.dims if "deviation" in name else 1
            parameter += scale * strength * torch.randn_like(parameter)
    return model.eval()


def images(shape: tuple[int, int, int], number: int = 4, levels: int = 4) -> Tensor:
    generator = stream(0, "images")
    drawn = torch.randint(0, levels, (number, *shape), generator=generator)
    return drawn.double() / (levels - 1)


def every_image(shape: tuple[int, int, int], levels: int) -> Tensor:
    values = list(product(range(levels), repeat=math.prod(shape)))
    return torch.tensor(values).view(-1, *shape).double() / (levels - 1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("shape", "levels", "resolutions"), [((1, 2, 2), 4, 2), ((3, 1, 2), 3, 1)])
def test_the_probabilities_of_all_images_sum_to_one(
    kind: str, shape: tuple[int, int, int], levels: int, resolutions: int
) -> None:
    model = tiny(shape, pixel_levels=levels, levels=resolutions, **KINDS[kind])
    total = model.class_log_prob(every_image(shape, levels)).exp().sum(0)
    torch.testing.assert_close(total, torch.ones(2).double(), atol=1e-9, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_no_conditional_sees_its_own_or_a_later_pixel_or_channel(kind: str) -> None:
    shape = (3, 4, 4)
    model, x = tiny(shape, **KINDS[kind]), images(shape, 1).requires_grad_()
    found = model.conditionals(x)[0]
    order = torch.arange(math.prod(shape)).view(4, 4, 3).permute(2, 0, 1)  # rows, columns, channels
    for place in product(range(3), range(4), range(4)):
        (gradient,) = torch.autograd.grad(
            found[(slice(None), *place)].abs().sum(), x, retain_graph=True
        )
        earlier = order < order[place]
        assert gradient[0][~earlier].abs().max() == 0, place
        if earlier.any() and place[1:] != (0, 0):
            # each earlier pixel of the neighborhood matters
            assert (gradient[0][earlier] != 0).any(), place


def by_definition(model: PixelCNN, x: Tensor) -> Tensor:
    """log p(x | y) of one component per class, as the formula says, with differences of CDFs."""
    conditionals = model.conditionals(x)
    mean, log_scale = conditionals.chunk(2, 1)  # (N, K, channels, H, W)
    half = 1 / (model.mixture.levels - 1)
    v = (2 * x - 1)[:, None]
    upper = ((v + half - mean) / log_scale.exp()).sigmoid()
    lower = ((v - half - mean) / log_scale.exp()).sigmoid()
    upper = torch.where(v > 1 - half, torch.ones_like(upper), upper)
    lower = torch.where(v < -1 + half, torch.zeros_like(lower), lower)
    return (upper - lower).log().flatten(2).sum(2)


@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 4, 4)])
def test_the_likelihood_is_that_of_the_formula(shape: tuple[int, int, int]) -> None:
    model, x = tiny(shape, classes=3), images(shape)
    torch.testing.assert_close(model.class_log_prob(x), by_definition(model, x))


def reference_network(model: PixelCNN, x: Tensor) -> Tensor:
    """The network, written again from the reference's description, with plain loops."""
    network = model.network

    def convolve(layer: Convolution, x: Tensor, pads: tuple[int, int, int, int]) -> Tensor:
        weight = torch.stack(
            [g * v / v.norm() for g, v in zip(layer.gain, layer.direction, strict=True)]
        )
        padded = torch.nn.functional.pad(x, pads)
        return torch.nn.functional.conv2d(padded, weight, layer.bias, layer.stride)

    def enlarge(layer: Upsampling, x: Tensor, rows: int, columns: int) -> Tensor:
        """Padded to the reference's target shape, then cropped."""
        norm = layer.direction.square().sum((0, 2, 3)).sqrt()
        weight = layer.direction * (layer.gain / norm)[None, :, None, None]
        full = torch.nn.functional.conv_transpose2d(
            x, weight, layer.bias, stride=2, output_padding=1
        )
        side = (columns - 1) // 2
        full = full[:, :, : full.shape[2] - rows + 1]
        if columns == 3:
            return full[..., side : full.shape[3] - side]
        return full[..., : full.shape[3] - columns + 1]

    def nonlinear(x: Tensor) -> Tensor:
        return torch.nn.functional.elu(torch.cat([x, -x], 1))

    down, right = (1, 1, 1, 0), (1, 0, 1, 0)

    def resnet(block, x: Tensor, pads: tuple[int, int, int, int], a: Tensor | None) -> Tensor:
        c1 = convolve(block.first, nonlinear(x), pads)
        if a is not None:
            c1 = c1 + convolve(block.skip, nonlinear(a), (0, 0, 0, 0))
        value, gate = convolve(block.second, nonlinear(c1), pads).chunk(2, 1)
        return x + value * torch.sigmoid(gate)

    def both(
        block, u: Tensor, ul: Tensor, skip: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor]:
        u = resnet(block.vertical, u, down, skip[0] if skip else None)
        return u, resnet(block.horizontal, ul, right, torch.cat([u, skip[1]], 1) if skip else u)

    first = network.first
    x = torch.cat([x, torch.ones_like(x[:, :1])], 1)
    zero_row = torch.zeros_like(x[:, :1, :1]).expand(-1, model.filters, -1, -1)
    zero_column = torch.zeros_like(x[:, :1, :, :1]).expand(-1, model.filters, -1, -1)
    u = torch.cat([zero_row, convolve(first.vertical, x, down)[:, :, :-1]], 2)
    ul = torch.cat([zero_row, convolve(first.row_above, x, (1, 1, 0, 0))[:, :, :-1]], 2)
    left = convolve(first.column_left, x, (0, 0, 1, 0))[..., :-1]
    ul = ul + torch.cat([zero_column, left], 3)
    levels, level = [], network.level
    while level is not None:
        levels.append(level)
        level = level.inner
    kept = [(u, ul)]
    for number, level in enumerate(levels):
        if number:
            halve = levels[number - 1].halve
            u, ul = convolve(halve.vertical, u, down), convolve(halve.horizontal, ul, right)
            kept.append((u, ul))
        for block in level.down:
            u, ul = both(block, u, ul, None)
            kept.append((u, ul))
    u, ul = kept.pop()
    for number in reversed(range(len(levels))):
        for block in levels[number].up:
            u, ul = both(block, u, ul, kept.pop())
        if number:
            upsample = levels[number - 1].upsample
            u, ul = enlarge(upsample.vertical, u, 2, 3), enlarge(upsample.horizontal, ul, 2, 2)
    assert not kept
    return ul


def test_the_network_is_that_of_the_reference() -> None:
    model = tiny((3, 8, 8), blocks=2, levels=3)
    x = 2 * images((3, 8, 8)) - 1
    torch.testing.assert_close(model.network(x), reference_network(model, x))


def naive_sample(model: PixelCNN, label: Tensor, generator: torch.Generator) -> Tensor:
    """One pass of the whole network for each pixel."""
    channels, height, width = model.event_shape
    uniform = torch.rand(
        (len(label), channels + 1, height, width), generator=generator, dtype=torch.float64
    )
    x = torch.zeros(len(label), channels, height, width, dtype=torch.float64)
    with torch.no_grad():
        for row, column in product(range(height), range(width)):
            activations = model.network(x, label if model.class_bias else None)
            raw = model.mixture.output(torch.nn.functional.elu(activations))[:, :, row, column]
            components = model.mixture.components_of(raw)
            x[:, :, row, column] = model.mixture.draw(
                components, label, uniform[:, :, row, column], 1.0
            )
    most = model.mixture.levels - 1
    return ((x + 1) / 2 * most).round() / most


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", [1, 3])
def test_cached_sampling_draws_the_image_of_naive_sampling(kind: str, channels: int) -> None:
    settings = {"blocks": 2, "levels": 3, "pixel_levels": 256, **KINDS[kind]}
    model = tiny((channels, 8, 12), strength=0.1, **settings)
    label = torch.tensor([0, 1, 1])
    cached = model.sample(label, generator=stream(3, "samples"))
    assert torch.equal(cached, naive_sample(model, label, stream(3, "samples")))
    assert cached.flatten(1).std(1).min() > 0


def test_samples_have_the_distribution_of_the_likelihood() -> None:
    model, shape = tiny((1, 1, 2), levels=1, pixel_levels=3), (1, 1, 2)
    expected = model.class_log_prob(every_image(shape, 3)).exp()
    for y in (0, 1):
        drawn = model.sample(torch.full((5_000,), y), generator=stream(y, "samples"))
        code = (drawn * 2).round().flatten(1).long() @ torch.tensor([3, 1])
        share = torch.bincount(code, minlength=9) / len(drawn)
        torch.testing.assert_close(share.double(), expected[:, y], atol=0.03, rtol=0)


@pytest.mark.parametrize("levels", [2, 3, 17, 256])
@pytest.mark.parametrize("scale", [-7.0, 0.0, 20.0])
@pytest.mark.parametrize("mean", [-30.0, 0.1, 30.0])
def test_extreme_conditionals_are_finite_and_sum_to_one(
    levels: int, scale: float, mean: float
) -> None:
    for precision in (torch.float32, torch.float64):
        x = torch.linspace(-1, 1, levels, dtype=precision).requires_grad_()
        parameters = [torch.full_like(x, value).requires_grad_() for value in (mean, scale)]
        log_prob = logistic.log_prob(x, *parameters, levels)
        assert torch.isfinite(log_prob).all()
        for gradient in torch.autograd.grad(log_prob.sum(), [x, *parameters]):
            assert torch.isfinite(gradient).all()
        tolerance = 1e-9 if precision == torch.float64 else 2e-3
        assert log_prob.exp().sum().item() == pytest.approx(1, abs=tolerance)


def test_the_relaxation_is_continuous_and_exact_at_the_levels() -> None:
    levels = 5
    x = torch.linspace(-1, 1, 4001, dtype=torch.float64)
    log_prob = logistic.log_prob(x, torch.tensor(0.2), torch.tensor(-2.0), levels)
    assert log_prob.diff().abs().max() < 0.05
    mass = logistic.log_prob(x[::1000], torch.tensor(0.2), torch.tensor(-2.0), levels).exp()
    assert mass.sum().item() == pytest.approx(1)


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("levels", [2, 256])
def test_constant_images_have_finite_likelihoods_and_gradients(value: float, levels: int) -> None:
    model = PixelCNN(2, event_shape=(1, 8, 8), pixel_levels=levels, filters=8, blocks=1, levels=2)
    x = torch.full((4, 1, 8, 8), value)
    model.train()
    log_prob = model.class_log_prob(x)  # the data-dependent initialization sees no variance
    log_prob.sum().backward()
    assert torch.isfinite(log_prob).all()
    assert all(
        torch.isfinite(parameter.grad).all()
        for parameter in model.parameters()
        if parameter.grad is not None
    )


def test_the_first_batch_initializes_each_convolution() -> None:
    model = PixelCNN(2, event_shape=(1, 8, 8), filters=8, blocks=1, levels=2, dropout=0.0)
    seen: dict[str, Tensor] = {}
    for name, module in model.named_modules():
        if isinstance(module, Convolution):
            module.register_forward_hook(
                lambda _, __, out, name=name: seen.__setitem__(name, out.detach())
            )
    x = torch.rand(16, 1, 8, 8)
    model.train().class_log_prob(x)
    for name, out in seen.items():
        std, mean = torch.std_mean(out, (0, 2, 3), correction=0)
        scale = 0.1 if name.endswith("second") else 1.0
        torch.testing.assert_close(mean, torch.zeros_like(mean), atol=1e-4, rtol=0)
        # a cropped or nearly constant output is scaled less
        assert (std < 1.2 * scale).all(), name
    state = {name: value.clone() for name, value in model.state_dict().items()}
    model.class_log_prob(2 * x - 1)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_dropout_drops_single_activations() -> None:
    """Whole channels, as in a port of the reference, would leave each channel all or nothing."""
    model = tiny((1, 4, 4), dropout=0.5)
    kept: list[Tensor] = []
    block = model.network.level.down[0].vertical
    block.second.register_forward_hook(lambda _, inputs, __: kept.append(inputs[0].detach()))
    model.train().class_log_prob(images((1, 4, 4), 8))
    share = (kept[0] == 0).double().mean((2, 3))
    assert ((share > 0) & (share < 1)).double().mean() > 0.9


def gradients_of(number: int, **settings) -> list[Tensor | None]:
    torch.manual_seed(0)
    model, x = tiny((1, 4, 4), blocks=2, **settings).train(), images((1, 4, 4), number)
    model.class_log_prob(x)  # the first batch initializes
    with model.fresh_noise(stream(0, "dropout")):
        model.class_log_prob(x).sum().backward()
    return [parameter.grad for parameter in model.parameters()]


def test_recomputed_activations_give_the_same_gradients() -> None:
    stored, recomputed = (gradients_of(8, recompute=recompute) for recompute in (False, True))
    for first, second in zip(stored, recomputed, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-9, atol=1e-9)


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_module, "PIXELS", 1)


def test_two_threads_give_the_gradients_of_one(two_threads: None, small_pieces: None) -> None:
    together = gradients_of(40)
    with machine.alone():
        alone = gradients_of(40)
    for first, second in zip(together, alone, strict=True):
        assert torch.equal(first, second)


def test_a_batch_in_pieces_has_the_gradients_of_the_whole(small_pieces: None) -> None:
    torch.manual_seed(0)
    model, x = tiny((1, 4, 4)), images((1, 4, 4), 40).requires_grad_()
    weight = torch.rand(40, 2)
    found = []
    for log_prob in (model.class_log_prob(x), model._log_prob(x)):
        model.zero_grad()
        (of_x,) = torch.autograd.grad((weight * log_prob).sum(), x, retain_graph=True)
        (weight * log_prob).sum().backward()
        found.append([of_x, *(parameter.grad.clone() for parameter in model.parameters())])
    for first, second in zip(*found, strict=True):
        torch.testing.assert_close(first, second)


def test_bfloat16_products_leave_the_likelihood_in_float32() -> None:
    model = PixelCNN(
        3, event_shape=(1, 8, 8), filters=8, blocks=1, levels=2, precision=torch.bfloat16
    )
    x = torch.rand(8, 1, 8, 8)
    log_prob = model.train().class_log_prob(x)
    assert log_prob.dtype == torch.float32
    log_prob.sum().backward()
    assert all(parameter.grad.dtype == torch.float32 for parameter in model.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_it_keeps_the_promises_of_a_density(kind: str) -> None:
    model = PixelCNN(
        2, event_shape=(3, 8, 8), filters=8, blocks=1, levels=2, pixel_levels=16, **KINDS[kind]
    )
    x = images((3, 8, 8), 16, 16).float()
    model.train().class_log_prob(x)
    failed = [check for check in check_density(model.eval(), x[:4]) if not check.passed]
    assert not failed


BAD: dict[str, tuple[dict[str, object], str]] = {
    "filters": ({"filters": 0}, "0 filters has no layers; use 1 or more"),
    "blocks": ({"blocks": 0}, "0 blocks has no layers; use 1 or more"),
    "levels": ({"levels": 0}, "cannot have 0 levels; use 1 to 3 levels"),
    "sizes": (
        {"levels": 4},
        "4x4 cannot be halved for 4 levels; use 1 to 3 levels or images of 8x8",
    ),
    "components": (
        {"components": 0, "class_bias": True},
        "cannot have 0 components; use 1 or more",
    ),
    "equal classes": ({"components": 3}, "all classes share one mixture"),
    "dropout": ({"dropout": 1.0}, "dropout is 1, expected 0 or more and less than 1"),
    "pixel levels": ({"pixel_levels": 1}, "needs pixels of 2 or more levels, but there are 1"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_settings_are_refused(name: str) -> None:
    settings, message = BAD[name]
    with pytest.raises(CondgenError, match=message):
        tiny(**settings)


def test_a_network_that_sees_its_own_pixel_fails_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny((1, 4, 4)).float()
    x = images((1, 4, 4)).float()
    (causality,) = [check for check in check_density(model, x) if check.name == "causality"]
    assert causality.passed
    monkeypatch.setattr(streams, "shift_right", lambda x: x)
    (causality,) = [check for check in check_density(model, x) if check.name == "causality"]
    assert causality.passed is False
    assert "depend on their own or a later pixel" in causality.found


def dark_and_bright() -> GenerativeClassifier:
    """Two classes of 4x4 images that differ in brightness."""
    model = tiny((1, 4, 4), pixel_levels=16)
    with torch.no_grad():  # mean and log-scale of each class
        output = model.mixture.output
        output.shared.gain.fill_(0.1)
        output.shared.bias.zero_()
        output.deviation.zero_()
        output.deviation_bias.copy_(torch.tensor([-0.5, -1.0, 0.5, -1.0]) / output.scale)
    return GenerativeClassifier(model.float())


START = images((1, 4, 4), 60, 16).float()


@pytest.mark.parametrize(
    "attack",
    [
        CarliniWagner(searches=2, steps=10),
        BrendelBethge(steps=10),
        HopSkipJump(StartingPoints(START), queries=200),
        Boundary(StartingPoints(START), queries=200),
    ],
)
def test_attacks_count_quantized_images_only(attack: Attack) -> None:
    classifier = dark_and_bright()
    x = images((1, 4, 4), 6, 16).float()
    label = classifier(x).label
    result = attack(classifier, x, Misclassify(label))
    assert result.reached.any()
    assert torch.equal(result.reached, result.reached_quantized)
    perturbed = result.perturbed[result.reached]
    torch.testing.assert_close(perturbed * 15, (perturbed * 15).round())
    assert (classifier(perturbed).label != label[result.reached]).all()
    assert torch.equal(perturbed, result.quantized[result.reached])


def test_paths_of_a_discrete_model_are_of_quantized_images(monkeypatch: pytest.MonkeyPatch) -> None:
    classifier, seen = dark_and_bright(), []
    whole = PixelCNN.class_log_prob
    monkeypatch.setattr(
        PixelCNN, "class_log_prob", lambda self, x: seen.append(x) or whole(self, x)
    )
    x = images((1, 4, 4), 60, 16).float()
    data = ImageDataset(
        (x * 15).round().byte().numpy(), classifier(x).label.numpy(), pixel_levels=16
    )
    interpolation(classifier, data, detector=LikelihoodThreshold(50.0), pairs=2, alphas=7)
    assert len(seen) > 1
    for batch in seen:
        torch.testing.assert_close(batch * 15, (batch * 15).round())


def test_a_run_of_another_family_or_size_is_refused(copied: Run) -> None:
    with pytest.raises(RunError, match="started with another model"):
        experiments.train(load_preset("digits-pixelcnn"), copied.path, resume=True, quiet=True)
    small, large = tiny(), tiny(filters=8)
    with pytest.raises(RunError, match="has another architecture: '"):
        load_weights(large, small.state_dict(), Path("run"))
