"""Attacks: exact distances, bounds, quantization, and guarantees of the base class."""

import dataclasses
import math

import pytest
import torch

from condgen import (
    ClassConditionalDensity,
    CondgenError,
    DiagonalGaussian,
    GenerativeClassifier,
    LikelihoodThreshold,
)
from condgen.attacks import (
    Attack,
    Boundary,
    BrendelBethge,
    CarliniWagner,
    DecoupledDirectionNorm,
    Evade,
    HopSkipJump,
    Misclassify,
    Quantized,
    StartingPoints,
    Target,
    Targeted,
    measurement,
)
from condgen.attacks.result import (
    ALREADY,
    NO_GRADIENT,
    NO_START,
    NOT_REACHED,
    REACHED,
    VANISHED,
    AttackResult,
)
from condgen.attacks.search import Search
from condgen.audits.adversarial.estimate import VERIFICATION
from condgen.classifier import Prediction
from condgen.density import round_to_levels
from condgen.testing import check_attack
from tests.attacks.models import Broken, Sick, distance_to_boundary, images, two_gaussians
from tests.conftest import tiny_glow

GRADIENT = [DecoupledDirectionNorm(60), CarliniWagner(), BrendelBethge()]
DECISION = [Boundary(queries=1500), HopSkipJump(queries=1500)]
ALL = [*GRADIENT, *DECISION]


def name(attack: Attack) -> str:
    return type(attack).__name__


@pytest.mark.parametrize("attack", ALL, ids=name)
def test_the_distance_is_that_to_the_hyperplane(attack: Attack) -> None:
    """The distance is never smaller, and larger by at most 1 % or 10 %."""
    x, label = images()
    result = attack(two_gaussians(), x, Misclassify(label))
    ratio = result.l2 / distance_to_boundary(x)
    assert result.reached.all()
    assert ratio.min() >= 1 - 1e-5
    assert ratio.max() < (1.01 if attack in GRADIENT else 1.1)


@pytest.mark.parametrize("attack", ALL, ids=name)
def test_success_is_what_the_classifier_says_of_the_images_handed_out(attack: Attack) -> None:
    x, label = images()
    classifier = two_gaussians()
    result = attack(classifier, x, Misclassify(label))
    assert torch.equal(result.reached, classifier(result.perturbed).label != label)
    assert torch.equal(result.reached_quantized, classifier(result.quantized).label != label)
    assert torch.allclose(result.quantized * 255, (result.quantized * 255).round(), atol=1e-4)
    assert result.reached_quantized.all()
    assert ((result.quantized - x).flatten(1).norm(dim=1) <= 1.06 * result.l2 + 1e-6).all()
    assert torch.allclose(result.l2, (result.perturbed - x).flatten(1).norm(dim=1))
    assert result.perturbed.min() >= 0
    assert result.perturbed.max() <= 1
    assert set(result.status) == {REACHED}


@pytest.mark.parametrize("attack", ALL, ids=name)
def test_the_same_seed_gives_the_same_images(attack: Attack) -> None:
    x, label = images(4)
    first, again = (
        attack(
            two_gaussians(), x, Misclassify(label), generator=torch.Generator().manual_seed(3)
        ).perturbed
        for _ in range(2)
    )
    assert torch.equal(first, again)


@pytest.mark.parametrize("attack", GRADIENT, ids=name)
def test_pixels_at_zero_and_one_can_move(attack: Attack) -> None:
    x = torch.zeros(1, 1, 1, 16)
    x[..., 8:] = 1.0
    x[..., 0] = 0.6
    classifier = two_gaussians(pixel_levels=256)
    label = classifier(x).label
    result = attack(classifier, x, Misclassify(label))
    assert result.reached.all()
    moved = (result.perturbed - x).flatten()
    assert (moved[1:8] > 0).all() if label == 0 else (moved[8:] < 0).all()


def test_a_targeted_attack_ends_in_its_class() -> None:

    mean = torch.tensor([0.3, 0.5, 0.7]).view(3, 1, 1, 1).expand(3, 1, 1, 16)
    classifier = GenerativeClassifier(DiagonalGaussian(mean.clone(), scale=0.1))
    x, label, target = (
        mean[:1].expand(2, 1, 1, 16).clone(),
        torch.tensor([0, 0]),
        torch.tensor([1, 2]),
    )
    result = CarliniWagner()(classifier, x, Target(target, label))
    assert classifier(result.perturbed).label.tolist() == [1, 2]
    assert result.l2.tolist() == pytest.approx([0.4, 1.2], rel=0.02)


@pytest.mark.parametrize(
    "attack",
    [CarliniWagner(searches=6), BrendelBethge(), Boundary(queries=3000), HopSkipJump(queries=3000)],
    ids=name,
)
def test_evading_a_detector_costs_the_exact_extra_distance(attack: Attack) -> None:
    """The nearest accepted image beyond the hyperplane lies on the sphere of the threshold."""
    classifier, (x, label) = two_gaussians(dims=2), images(6, dims=2, spread=0.15)
    bits = classifier(classifier.density.mean[1][None] + 0.16).bits_per_dim.item()
    detector = LikelihoodThreshold(bits)
    goal = Evade(Misclassify(label), detector, weight=2 * math.log(2))
    starting_points = StartingPoints(classifier.density.mean[:, :, :, :])
    if not isinstance(attack, CarliniWagner):
        attack = type(attack)(**{**vars(attack), "starting_points": starting_points})
    result = attack(classifier, x, goal)
    prediction = classifier(result.perturbed)
    assert result.reached.all()
    assert (prediction.label != label).all()
    assert (prediction.bits_per_dim <= detector.threshold).all()
    best = nearest_on_a_grid(classifier, x, goal)
    assert torch.allclose(
        result.l2, best, rtol=0.1 if isinstance(attack, HopSkipJump) else 0.04, atol=0.004
    )


def nearest_on_a_grid(
    classifier: GenerativeClassifier, x: torch.Tensor, goal: Evade
) -> torch.Tensor:
    """Brute force in two dimensions."""
    axis = torch.linspace(0, 1, 501)
    grid = torch.cartesian_prod(axis, axis).view(-1, 1, 1, 2)
    distances = torch.cdist(x.flatten(1), grid.flatten(1))
    return distances.masked_fill(
        ~Search(classifier, x, goal).reaching(grid, torch.arange(len(x))), math.inf
    ).amin(1)


@pytest.mark.parametrize("attack", ALL, ids=name)
def test_no_pass_takes_more_images_than_a_batch(attack: Attack) -> None:
    (x, label), classifier, passes = images(7), two_gaussians(), []
    label[3] = 1 - label[3]
    classifier.register_forward_pre_hook(lambda module, arguments: passes.append(len(arguments[0])))
    result = attack(classifier, x, Misclassify(label), batch=3)
    assert max(passes) == 3
    assert [status == ALREADY for status in result.status] == [image == 3 for image in range(7)]
    assert torch.equal(result.l2 > 0, torch.arange(7) != 3)
    assert torch.allclose(result.l2, (result.perturbed - x).flatten(1).norm(dim=1))
    assert result.reached.all()
    assert len(result.forward) == len(result.quantized) == 7


def test_no_images_are_attacked_without_complaint() -> None:
    x, label = images(2)
    result = CarliniWagner()(two_gaussians(), x[:0], Misclassify(label[:0]))
    assert (result.perturbed.shape, result.status) == ((0, 1, 1, 16), ())


BAD_ARGUMENTS = {
    "batch of none": (
        lambda c, x, y: CarliniWagner()(c, x, Misclassify(y), batch=0),
        "batch is 0, expected a whole number",
    ),
    "half a batch": (
        lambda c, x, y: CarliniWagner()(c, x, Misclassify(y), batch=2.5),
        "batch is 2.5, expected a whole number",
    ),
    "a bare model": (
        lambda c, x, y: CarliniWagner()(c.density, x, Misclassify(y)),
        r"the classifier is a DiagonalGaussian; give GenerativeClassifier\(your model\)",
    ),
    "an array of images": (
        lambda c, x, y: CarliniWagner()(c, x.numpy(), Misclassify(y)),
        "images: found a ndarray",
    ),
    "labels for a goal": (
        lambda c, x, y: CarliniWagner()(c, x, y),
        r"the goal is a Tensor; give Misclassify\(label\)",
    ),
    "a class for a goal": (
        lambda c, x, y: CarliniWagner()(c, x, Misclassify),
        "the goal is the class Misclassify; give",
    ),
    "a list of labels": (
        lambda c, x, y: CarliniWagner()(c, x, Misclassify(y.tolist())),
        "labels: found a list",
    ),
    "one label": (lambda c, x, y: CarliniWagner()(c, x, Misclassify(1)), "labels: found a int"),
    "a list of targets": (lambda c, x, y: Target([1, 0], y), "targets: found a list"),
    "targets of a list": (lambda c, x, y: Target(1 - y, y.tolist()), "labels: found a list"),
    "evading with labels": (
        lambda c, x, y: Evade(y, LikelihoodThreshold(8.0)),
        "the goal is a Tensor",
    ),
}


@pytest.mark.parametrize("name", BAD_ARGUMENTS)
def test_what_cannot_be_attacked_is_refused_with_a_way_out(name: str) -> None:
    call, message = BAD_ARGUMENTS[name]
    with pytest.raises(CondgenError, match=message):
        call(two_gaussians(), *images(2))


@pytest.mark.parametrize("attack", ALL, ids=name)
def test_an_image_that_is_wrong_already_stays_as_it_is(attack: Attack) -> None:
    x, label = images(3)
    wrong = torch.tensor([1, 1, 0])
    result = attack(two_gaussians(), x, Misclassify(wrong))
    already = wrong != label
    assert torch.equal(result.perturbed[already], x[already])
    assert result.l2[already].tolist() == [0.0] * int(already.sum())
    assert [status == ALREADY for status in result.status] == already.tolist()


def test_one_bad_start_does_not_stop_the_batch() -> None:
    classifier, (x, label) = two_gaussians(), images(4)
    only_ones = StartingPoints(classifier.density.mean[1:])
    result = Boundary(only_ones, queries=300)(classifier, x, Misclassify(label))
    assert result.reached.tolist() == [True, False, True, False]
    assert result.status[1] == NO_START
    assert torch.equal(result.perturbed[1], x[1])
    assert math.isinf(result.l2[1])


def test_flagged_start_images_are_skipped() -> None:
    classifier, (x, label) = two_gaussians(), images(2)
    goal = Evade(
        Misclassify(label), LikelihoodThreshold(classifier(x).bits_per_dim.max().item() + 0.1)
    )
    result = Boundary(
        StartingPoints(torch.cat([torch.zeros(1, 1, 1, 16), torch.ones(1, 1, 1, 16)])), queries=200
    )(classifier, x, goal)
    assert set(result.status) == {NO_START}


@pytest.mark.parametrize("attack", DECISION, ids=name)
def test_queries_are_counted_and_kept_to(attack: Attack) -> None:
    x, label = images(3)
    classifier, asked = two_gaussians(), 0

    def count(module, arguments) -> None:
        nonlocal asked
        asked += len(arguments[0])

    classifier.register_forward_pre_hook(count)
    result = attack(classifier, x, Misclassify(label))
    assert int(result.forward.sum()) == asked
    assert (
        result.forward.max()
        <= attack.queries
        + len(measurement.STRETCHES)
        + len(measurement.STRIDES)
        + len(measurement.INWARD)
        + 2
    )
    assert result.backward.sum() == 0


@pytest.mark.parametrize(
    "attack",
    [DecoupledDirectionNorm(60), CarliniWagner(searches=2, steps=30), BrendelBethge()],
    ids=name,
)
def test_a_quantized_attack_finds_nearer_quantized_images(attack: Attack) -> None:
    x, label = images(20)
    classifier = two_gaussians()
    classifier.density.pixel_levels = 9
    x = classifier.quantize(x)
    goal = Misclassify(label)
    plain, quantized = (each(classifier, x, goal) for each in (attack, Quantized(attack)))
    assert torch.equal(quantized.perturbed, quantized.quantized)
    assert torch.equal(quantized.reached, quantized.reached_quantized)
    assert quantized.reached_quantized.sum() >= plain.reached_quantized.sum()
    torch.testing.assert_close(quantized.perturbed * 8, (quantized.perturbed * 8).round())
    before, after = (
        (result.quantized - x).flatten(1).norm(dim=1)[plain.reached_quantized].mean()
        for result in (plain, quantized)
    )
    assert after < before


def test_a_quantized_attack_needs_an_attack_with_gradients() -> None:
    for wrong in (Boundary(), Boundary, None):
        with pytest.raises(CondgenError, match="needs an attack with gradients"):
            Quantized(wrong)


def three_in_a_row() -> GenerativeClassifier:
    return GenerativeClassifier(
        DiagonalGaussian(torch.tensor([[0.2, 0.5], [0.5, 0.5], [0.8, 0.5]]))
    )


@pytest.mark.parametrize("aware", [False, True])
def test_a_targeted_attack_ends_in_the_class_that_it_drew(aware: bool) -> None:
    classifier, x = three_in_a_row(), torch.full((60, 2), 0.3)
    label = torch.zeros(60, dtype=torch.int64)
    goal = Misclassify(label)
    goal = Evade(goal, LikelihoodThreshold(20.0)) if aware else goal
    result = Targeted()(classifier, x, goal, generator=torch.Generator().manual_seed(0))
    assert result.reached.all()
    drawn = classifier(result.perturbed).label
    assert set(drawn.tolist()) == {1, 2}
    expected = torch.where(drawn == 1, 0.05, 0.35)
    torch.testing.assert_close(result.l2, expected, rtol=0.02, atol=1e-3)
    nearest = CarliniWagner()(classifier, x, goal)
    assert (nearest.l2 < 0.06).all()


def test_a_targeted_attack_starts_from_an_image_of_its_class() -> None:
    classifier, x = three_in_a_row(), torch.full((40, 2), 0.3)
    starts = StartingPoints(torch.tensor([[0.5, 0.5], [0.8, 0.5]]))
    attack = Targeted(Boundary(queries=300, starting_points=starts))
    assert not attack.needs_gradient
    result = attack(classifier, x, Misclassify(torch.zeros(40, dtype=torch.int64)))
    assert result.reached.all()
    assert set(classifier(result.perturbed).label.tolist()) == {1, 2}


def test_a_targeted_attack_needs_an_attack() -> None:
    with pytest.raises(CondgenError, match="Targeted needs an attack"):
        Targeted(None)
    search = Search(three_in_a_row(), torch.full((1, 2), 0.3), Misclassify(torch.tensor([0])))
    before = search.goal
    attack = Targeted(Boundary(queries=50))
    attack.perturb(search, search.everyone, torch.Generator().manual_seed(0))
    assert search.goal is before


@pytest.mark.parametrize("attack", [*ALL, Quantized(), Targeted()], ids=name)
def test_an_attack_keeps_to_the_passes_that_it_states(attack: Attack) -> None:
    x, label = images(3)
    detector = LikelihoodThreshold(two_gaussians()(x).bits_per_dim.max().item() + 0.5)
    start = {"starting_points": StartingPoints(images(30)[0])}
    attack = dataclasses.replace(attack, **start) if hasattr(attack, "starting_points") else attack
    result = attack(two_gaussians(), x, Evade(Misclassify(label), detector))
    queries, gradients = attack.passes()
    assert (result.backward.max() == 0) == (gradients == 0)
    # one forward pass may serve the gradients of two margins
    assert result.backward.max() <= 2 * gradients
    assert result.forward.max() <= queries + gradients + VERIFICATION


@pytest.mark.parametrize("attack", DECISION, ids=name)
def test_an_image_whose_start_was_dear_costs_the_others_no_queries(attack: Attack) -> None:
    x, label = images(3)
    search = Search(two_gaussians(), x, Misclassify(label))
    search.forward[0] = attack.queries // 2
    attack.perturb(search, search.everyone, torch.Generator().manual_seed(0))
    assert (search.forward[1:] > 0.75 * attack.queries).all()
    assert (search.forward <= attack.queries).all()


def test_no_gradient_is_an_error_that_says_what_works() -> None:
    classifier, (x, label) = (
        GenerativeClassifier(Broken(two_gaussians().density, "no gradient")),
        images(2),
    )
    with pytest.raises(CondgenError, match="use Boundary or HopSkipJump, which need none"):
        CarliniWagner()(classifier, x, Misclassify(label))
    assert Boundary(queries=100)(classifier, x, Misclassify(label)).reached.all()


def test_parameters_do_not_pass_for_a_gradient_of_the_image() -> None:
    classifier, (x, label) = two_gaussians(), images(2)
    classifier.density.mean = torch.nn.Parameter(classifier.density.mean)
    broken = GenerativeClassifier(Broken(classifier.density, "no gradient"))
    with pytest.raises(CondgenError, match="no gradient in the image"):
        CarliniWagner()(broken, x, Misclassify(label))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: CarliniWagner(steps=0), "CarliniWagner has steps = 0, expected 1 or more"),
        (lambda: CarliniWagner(searches=-1), "searches = -1"),
        (lambda: DecoupledDirectionNorm(-3), "steps = -3"),
        (lambda: BrendelBethge(steps=0), "steps = 0"),
        (lambda: Boundary(queries=-1), "queries = -1"),
        (lambda: Boundary(first=math.nan), "first = nan"),
        (lambda: Boundary(first=0.0), "first = 0.0, expected 1e-06 to 1"),
        (lambda: Boundary(lean=1.5), "lean = 1.5"),
        (lambda: DecoupledDirectionNorm(rate=0), "rate = 0"),
        (lambda: CarliniWagner(step_size=math.nan), "step_size = nan"),
        (lambda: HopSkipJump(probes=0), "probes = 0"),
        (lambda: StartingPoints(tries=0), "tries = 0"),
    ],
)
def test_settings_that_would_do_nothing_are_refused(make, said: str) -> None:
    with pytest.raises(CondgenError, match=said):
        make()


@pytest.mark.parametrize("attack", ALL, ids=name)
def test_other_bounds_other_shapes_and_float64(attack: Attack) -> None:
    """A continuous density on [-2, 2] in four dimensions. The boundary contains the origin."""
    classifier = GenerativeClassifier(Line())
    x = torch.tensor([[-1.0, -1, -1, -1], [0.5, 0.5, 0.5, 0.5]], dtype=torch.float64)
    result = attack(classifier, x, Misclassify(torch.tensor([0, 1])))
    assert result.reached.all()
    assert result.l2.tolist() == pytest.approx([2.0, 1.0], rel=0.1)
    assert torch.equal(result.quantized, result.perturbed)
    assert result.perturbed.dtype == torch.float64


class Line(ClassConditionalDensity):
    num_classes, event_shape, bounds, pixel_levels = 2, (4,), (-2.0, 2.0), None

    def class_log_prob(self, x: torch.Tensor) -> torch.Tensor:
        return x.sum(1, keepdim=True) * torch.tensor([-50.0, 50.0], dtype=x.dtype) - 4000


@pytest.mark.parametrize(("bounds", "step"), [((0.0, 255.0), 1.0), ((-1.0, 1.0), 2 / 255)])
def test_stored_images_lie_on_the_grid_of_the_bounds(
    bounds: tuple[float, float], step: float
) -> None:
    x = torch.linspace(*bounds, 1001)
    stored = round_to_levels(x, 256, bounds)
    places = (stored - bounds[0]) / step
    assert torch.allclose(places, places.round(), atol=1e-3)
    assert ((stored - x).abs() <= 0.501 * step).all()
    assert (stored.min(), stored.max()) == bounds


@pytest.mark.parametrize("pixel_levels", [None, 43])
@pytest.mark.parametrize(
    "bounds", [(-0.1307 / 0.3081, 0.8693 / 0.3081), (-math.pi, math.pi), (-1.0, 2.0)], ids=str
)
def test_bounds_that_float32_does_not_have_can_be_reached_and_stored(
    bounds: tuple[float, float], pixel_levels: int | None
) -> None:
    classifier = GenerativeClassifier(Line())
    classifier.density.bounds, classifier.density.pixel_levels = bounds, pixel_levels
    x = torch.tensor([[-9.0] * 4, [9.0] * 4]).clamp(*classifier.bounds)
    result = DecoupledDirectionNorm(30)(classifier, x, Misclassify(torch.tensor([0, 1])))
    assert result.reached.all()
    for seed in range(20):
        low, high = (
            torch.randn(2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
            .sort()[0]
            .tolist()
        )
        stored = round_to_levels(torch.linspace(low, high, 100).clamp(low, high), 43, (low, high))
        assert torch.equal(stored, stored.clamp(low, high))


@pytest.mark.parametrize("says", [math.nan, math.inf, -math.inf], ids=str)
@pytest.mark.parametrize("attack", ALL, ids=name)
def test_an_answer_that_is_no_number_does_not_stop_the_batch(attack: Attack, says: float) -> None:
    x, label = images()
    x[3, 0, 0, 0] = 0.99
    result = attack(
        GenerativeClassifier(Sick(two_gaussians().density, says, 0.9)), x, Misclassify(label)
    )
    others = torch.arange(len(x)) != 3
    assert result.reached[others].all()
    assert torch.isfinite(result.perturbed).all()
    sound = (
        attack(two_gaussians(), x[others], Misclassify(label[others]))
        if attack in GRADIENT
        else None
    )
    if sound is not None:
        assert result.l2[others].tolist() == pytest.approx(sound.l2.tolist(), rel=0.02)


def test_images_in_float64_and_labels_of_one_byte_are_taken() -> None:
    classifier = GenerativeClassifier(tiny_glow(strength=0.05))
    x = torch.rand(2, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    goal = Misclassify(classifier(x).label.to(torch.uint8))
    assert DecoupledDirectionNorm(2)(classifier, x, goal).perturbed.dtype == torch.float64
    assert torch.equal(classifier(x).class_log_prob, classifier(x.float()).class_log_prob)


class Silent(DecoupledDirectionNorm):
    def perturb(self, search, index, generator):
        super().perturb(search, index[:1], generator)


def test_an_author_may_return_no_reasons() -> None:
    x, label = images(2)
    assert Silent()(two_gaussians(), x, Misclassify(label)).status == (
        REACHED,
        NOT_REACHED,
    )


@pytest.mark.parametrize("number", [0, 1])
def test_no_image_and_one_image(number: int) -> None:
    x, label = images(2)
    for attack in ALL:
        result = attack(two_gaussians(), x[:number], Misclassify(label[:number]))
        assert len(result.status) == len(result.perturbed) == number


def test_no_start_images_at_all_is_a_status() -> None:
    x, label = images(2)
    for attack in (
        Boundary(StartingPoints(x[:0]), queries=50),
        HopSkipJump(StartingPoints(x[:0]), queries=50),
    ):
        assert set(attack(two_gaussians(), x, Misclassify(label)).status) == {NO_START}


def test_a_zero_gradient_is_named() -> None:
    classifier, (x, label) = (
        GenerativeClassifier(Broken(two_gaussians().density, "saturated posterior")),
        images(2),
    )
    assert set(CarliniWagner()(classifier, x, Misclassify(label)).status) == {NO_GRADIENT}


def test_parameters_and_mode_are_left_as_they_were() -> None:
    classifier, (x, label) = two_gaussians(), images(2)
    classifier.density.extra = torch.nn.Linear(1, 1)
    classifier.train()
    classifier.density.extra.eval()
    CarliniWagner(searches=1, steps=3)(classifier, x, Misclassify(label))
    assert classifier.training
    assert not classifier.density.extra.training
    assert all(parameter.requires_grad for parameter in classifier.parameters())


def test_more_effort_is_never_worse() -> None:
    x, label = images()
    for attack in ALL:
        doubled = attack.doubled()
        assert doubled is not None
        few, many = (
            a(two_gaussians(), x, Misclassify(label)).l2.median() for a in (attack, doubled)
        )
        assert many <= few * 1.01


def test_the_walk_alone_comes_from_far_to_the_hyperplane() -> None:
    x, label = images()
    result = BrendelBethge(start_steps=0, steps=80)(two_gaussians(), x, Misclassify(label))
    assert result.backward.max() > 5
    assert (result.l2 / distance_to_boundary(x)).max() < 1.05


def test_a_success_that_is_gone_when_asked_again_is_none() -> None:
    """The model gives wrong answers in calls 2 to 4 and right ones afterwards."""
    classifier, (x, label) = two_gaussians(), images(2)
    calls = 0

    def lie(module, arguments, prediction):
        nonlocal calls
        calls += 1
        reverse = 2 <= calls <= 4
        return (
            dataclasses.replace(prediction, class_log_prob=prediction.class_log_prob.flip(-1))
            if reverse
            else prediction
        )

    classifier.register_forward_hook(lie)
    result = Forgetful()(classifier, x, Misclassify(label))
    assert calls > 4
    assert set(result.status) == {VANISHED}
    assert not result.reached.any()
    assert torch.equal(result.perturbed, x)
    assert torch.isinf(result.l2).all()


class Corner(ClassConditionalDensity):
    """Class 1 for x[0] > 0; the detector's limit is the diagonal. A batch of one shifts both."""

    num_classes, event_shape, bounds = 2, (2,), (-1.0, 1.0)
    threshold = -1e-4

    def __init__(self, pixel_levels: int | None):
        super().__init__()
        self.pixel_levels = pixel_levels

    def class_log_prob(self, x: torch.Tensor) -> torch.Tensor:
        hair = 1e-3 * (len(x) == 1)
        first = 10 * (x[:, 0] - x[:, 1]) + hair
        return torch.stack([first, first + 10 * x[:, 0] - hair], dim=1)

    def score(self, prediction: Prediction) -> torch.Tensor:
        return prediction.class_log_prob[:, 0]


class IntoTheCorner(Attack):
    """Query two successes: one far inside, one very close to both boundaries."""

    def perturb(self, search, index, generator):
        for place in ([0.2, 0.8], [1e-4, 2e-4]):
            search.margins(
                within(search.classifier, torch.tensor(place)).expand_as(search.x[index]), index
            )


def within(classifier: GenerativeClassifier, place: torch.Tensor) -> torch.Tensor:
    """Convert a point in [-1, 1] to the input range of the classifier."""
    return place if classifier.bounds == (-1.0, 1.0) else (place + 1) / 2


def into_the_corner(pixel_levels: int | None) -> AttackResult:
    density = Corner(pixel_levels)
    classifier, goal = (
        GenerativeClassifier(density),
        Evade(Misclassify(torch.zeros(3, dtype=torch.long)), density),
    )
    return IntoTheCorner()(classifier, within(classifier, torch.tensor([[-1.0, -0.5]] * 3)), goal)


def test_a_success_in_a_corner_is_handed_out_a_hair_further_inside() -> None:
    """The detector flags points that are further along the line."""
    result = into_the_corner(None)
    assert set(result.status) == {REACHED}
    assert ((result.l2 > 1.25**0.5) & (result.l2 < 1.001 * 1.25**0.5)).all()


def test_a_stored_success_may_lie_where_the_line_does_not_lead() -> None:
    result = into_the_corner(17)
    assert result.reached_quantized.all()
    stored = 2 * result.quantized - 1
    assert torch.equal(stored * 8, (stored * 8).round())
    assert (stored - torch.tensor([0.125, 0.25])).abs().max() < 0.3


def test_success_cannot_be_claimed() -> None:
    with pytest.raises(TypeError, match="must not override __call__"):

        class Boastful(Attack):
            def __call__(self, *arguments):  # type: ignore[override]
                return "all misclassified"

            def perturb(self, search, index, generator):
                return {}


class Forgetful(Attack):
    """Query a success, then return to the original image."""

    def perturb(self, search, index, generator):
        search.margins(torch.full_like(search.x[index], 0.8), index)
        search.margins(search.x[index], index)
        return {}


def test_a_success_met_on_the_way_is_returned() -> None:
    x, label = images(4)
    result = Forgetful()(two_gaussians(), x, Misclassify(label))
    assert result.reached.tolist() == (label == 0).tolist()


def test_repeated_questions_keep_the_nearest() -> None:
    x, label = images(1)
    search = Search(two_gaussians(), x, Misclassify(label))
    steps = torch.tensor([0.9, 0.6, 0.7]).view(3, 1, 1, 1)
    search.margins(steps.expand(3, 1, 1, 16).clone(), torch.tensor([0, 0, 0]))
    assert search.forward.tolist() == [3]
    assert search.best[0].unique().tolist() == pytest.approx([0.6])


@pytest.mark.parametrize(
    "attack",
    [CarliniWagner(), BrendelBethge(), Boundary(queries=600), HopSkipJump(queries=600)],
    ids=name,
)
def test_attacks_pass_the_conformance_check(attack: Attack) -> None:
    assert [check.name for check in check_attack(attack) if not check.passed] == []


def test_the_conformance_check_finds_attacks_that_do_not_work() -> None:
    assert not all(check.passed for check in check_attack(Forgetful()))
    failed = [check.name for check in check_attack(Blind()) if not check.passed]
    assert failed == ["finds every image, detector-aware", "distance, detector-aware"]
    assert [check.name for check in check_attack(Lazy()) if not check.passed] == [
        "distance",
        "distance, detector-aware",
    ]


class Lazy(Attack):
    """Return the starting point unchanged."""

    def perturb(
        self, search: Search, index: torch.Tensor, generator: torch.Generator
    ) -> dict[int, str]:
        StartingPoints(tries=200).find(search, index, generator)
        return {}


class Blind(Attack):
    """Ignore the detector."""

    def perturb(
        self, search: Search, index: torch.Tensor, generator: torch.Generator
    ) -> dict[int, str]:
        goal = search.goal.goal if isinstance(search.goal, Evade) else search.goal
        alone = Search(search.classifier, search.x, goal)
        alone.margins(search.x, search.everyone)
        CarliniWagner().perturb(alone, index, generator)
        search.margins(alone.best[index], index)
        return {}
