"""Audits against known numbers."""

import errno
import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from condgen import AuditedModel, audits
from condgen.audits import intervals
from condgen.audits.records import Record
from condgen.audits.selective import risk_coverage
from condgen.classifier import GenerativeClassifier, predict
from condgen.data.dataset import ImageDataset
from condgen.density import ClassConditionalDensity
from condgen.detectors import LikelihoodThreshold
from condgen.errors import CondgenError, DataError, RunError
from condgen.models.gaussian import DiagonalGaussian
from condgen.registry import AUDITS
from condgen.reports.sections import section_of
from condgen.runs import Run

MEAN = torch.tensor([0.2, 0.8])[:, None, None, None].expand(2, 1, 4, 4).contiguous()
ACCEPT_ALL = LikelihoodThreshold(1e9)


def two_classes(number: int = 60, seed: int = 0) -> tuple[GenerativeClassifier, ImageDataset]:
    random = np.random.default_rng(seed)
    labels = np.arange(number) % 2
    images = (random.normal(MEAN.numpy()[labels], 0.05).clip(0, 1) * 255).round().astype(np.uint8)
    return GenerativeClassifier(DiagonalGaussian(MEAN, scale=0.05)), ImageDataset(images, labels)


def test_classification_of_a_separable_problem() -> None:
    classifier, data = two_classes()
    record = audits.classification(classifier, data, detector=ACCEPT_ALL)
    expected = predict(classifier, data.batch(slice(None))[0]).bits_per_dim.mean().item()
    assert record.summary["accuracy"] == record.summary["accepted"] == 1
    assert record.summary["bits_per_dim"] == pytest.approx(expected, rel=1e-5)
    assert record.summary["accuracy_ci"][0] == pytest.approx(0.9398, abs=1e-4)  # Wilson, 60 of 60


def test_bits_per_dim_as_deployed_are_those_that_the_detector_sees(trained: Run) -> None:
    record = trained.record("classification")
    assert record.summary["bits_per_dim_deployed"] == pytest.approx(
        record.arrays["score"].mean(), rel=1e-6
    )
    assert record.summary["bits_per_dim_deployed"] != pytest.approx(
        record.summary["bits_per_dim"], rel=1e-4
    )
    low, high = record.summary["bits_per_dim_deployed_ci"]
    assert low < record.summary["bits_per_dim_deployed"] < high


class Answering(ClassConditionalDensity):
    """Return one number for all images, or only for images whose first pixel is dark."""

    num_classes, event_shape = 2, (1, 4, 4)

    def __init__(self, answer: float, below: float = math.inf):
        super().__init__()
        self.answer, self.below = answer, below
        self.other = DiagonalGaussian(MEAN, scale=0.05)

    def class_log_prob(self, x: torch.Tensor) -> torch.Tensor:
        dark = x.flatten(1)[:, :1] <= self.below
        return torch.where(dark, self.answer, self.other.class_log_prob(x))


def test_no_number_is_no_class() -> None:
    _, data = two_classes()
    classifier = GenerativeClassifier(Answering(torch.nan))
    with pytest.raises(CondgenError, match=r"NaN or \+infinity for 60 of 60 images"):
        audits.classification(classifier, data, detector=ACCEPT_ALL)


def test_levels_of_other_images_are_refused() -> None:
    classifier, data = two_classes()
    with pytest.raises(DataError, match="has 17 levels per pixel, the model's pixel_levels is 256"):
        audits.classification(
            classifier,
            ImageDataset(data.images // 16, data.labels, pixel_levels=17),
            detector=ACCEPT_ALL,
        )


def test_classification_counts_what_is_wrong() -> None:
    classifier, data = two_classes()
    half = np.where(np.arange(60) < 15, 1 - data.labels, data.labels)
    record = audits.classification(classifier, ImageDataset(data.images, half), detector=ACCEPT_ALL)
    assert record.summary["accuracy"] == 0.75


def test_membership_of_well_separated_classes_is_noticed() -> None:
    classifier, data = two_classes()
    summary = audits.label_likelihood(classifier, data).summary
    assert summary["auroc"] == 1
    distance = ((MEAN[0] - MEAN[1]) ** 2).sum().item() / (2 * 0.05**2)
    assert summary["gap_nats"] == pytest.approx(distance, rel=0.05)


class Indifferent(ClassConditionalDensity):
    """The same density for all classes."""

    num_classes, event_shape = 3, (1, 4, 4)

    def class_log_prob(self, x: torch.Tensor) -> torch.Tensor:
        return -x.flatten(1).sum(1, keepdim=True).expand(-1, 3)


def test_membership_under_an_indifferent_model_is_a_coin_toss() -> None:
    _, data = two_classes()
    summary = audits.label_likelihood(GenerativeClassifier(Indifferent()), data).summary
    assert summary["auroc"] == 0.5
    assert summary["gap_nats"] == 0
    assert summary["positive"] == "wrong label"


def test_interpolation_between_two_gaussians_follows_the_closed_form() -> None:
    classifier, data = two_classes()
    record = audits.interpolation(
        classifier, data, detector=ACCEPT_ALL, pairs=20, alphas=11, quiet=True
    )
    x, _ = data.batch(slice(None))
    first, second = record.arrays["index"].T
    assert (data.labels[first] != data.labels[second]).all()
    for row, (i, j) in enumerate(zip(first, second, strict=True)):
        line = torch.lerp(x[i], x[j], torch.linspace(0, 1, 11)[:, None, None, None])
        np.testing.assert_allclose(
            record.arrays["bits_per_dim"][row], classifier(line).bits_per_dim, rtol=1e-5
        )
        assert record.arrays["posterior"][row, 0, 0] == pytest.approx(1, abs=1e-3)
        assert record.arrays["posterior"][row, -1, 1] == pytest.approx(1, abs=1e-3)
    assert record.summary["accepted_at_every_step"] == 1
    assert record.summary["bits_per_dim_middle"] > record.summary["bits_per_dim_ends"] + 1


def test_interpolation_starts_from_accepted_images_and_is_stopped_in_the_middle() -> None:
    classifier, data = two_classes()
    bits = predict(classifier, data.batch(slice(None))[0]).bits_per_dim
    detector = LikelihoodThreshold.at_quantile(bits, 0.8)
    record = audits.interpolation(
        classifier, data, detector=detector, pairs=30, alphas=11, quiet=True
    )
    assert record.arrays["accepted"][:, [0, -1]].all()
    assert record.summary["accepted_at_every_step"] == 0


def test_interpolation_without_usable_images_says_what_to_do() -> None:
    classifier, data = two_classes()
    with pytest.raises(CondgenError, match=r"0 of 60 test images.*Raise detector.threshold"):
        audits.interpolation(classifier, data, detector=LikelihoodThreshold(-1e9))


@pytest.mark.parametrize(
    "audit",
    [audits.classification, audits.label_likelihood, audits.interpolation, audits.adversarial],
)
@pytest.mark.parametrize("number", [0, 1])
def test_too_few_images_are_refused(audit, number: int) -> None:
    classifier, data = two_classes()
    settings = {
        audits.label_likelihood: {},
        audits.adversarial: {"detector": ACCEPT_ALL, "starting_points": data},
    }
    few = data.take(np.arange(number))
    with pytest.raises(CondgenError, match="use 2 or more"):
        audit(classifier, few, **settings.get(audit, {"detector": ACCEPT_ALL}))


@pytest.mark.parametrize(
    "audit", [audits.label_likelihood, audits.interpolation, audits.adversarial]
)
def test_a_model_of_one_class_has_no_wrong_label(audit) -> None:
    data = ImageDataset(np.zeros((5, 1, 4, 4), np.uint8), np.zeros(5, np.int64))
    settings = {
        audits.label_likelihood: {},
        audits.adversarial: {"detector": ACCEPT_ALL, "starting_points": data},
    }
    with pytest.raises(CondgenError, match="the model has 1 class"):
        audit(
            GenerativeClassifier(DiagonalGaussian(MEAN[:1])),
            data,
            **settings.get(audit, {"detector": ACCEPT_ALL}),
        )


class Unlike:
    """A user-defined detector."""

    threshold = torch.tensor(8.0)

    def __init__(self, score):
        self.score = score


def test_a_detector_of_ones_own_is_checked_and_its_threshold_is_a_number() -> None:
    classifier, data = two_classes()
    record = audits.classification(
        classifier, data, detector=Unlike(lambda prediction: prediction.bits_per_dim)
    )
    assert type(record.summary["threshold"]) is float
    for score in (
        lambda p: p.bits_per_dim[:, None],
        lambda p: p.bits_per_dim.detach().numpy(),
        lambda p: p.bits_per_dim[:3],
    ):
        with pytest.raises(CondgenError, match=r"Unlike\.score gave"):
            audits.classification(classifier, data, detector=Unlike(score))


def test_what_is_no_classifier_and_no_data_set_is_refused() -> None:
    classifier, data = two_classes()
    with pytest.raises(
        CondgenError,
        match=r"the classifier is a DiagonalGaussian; give GenerativeClassifier\(your model\)",
    ):
        audits.label_likelihood(classifier.density, data)  # type: ignore[arg-type]
    with pytest.raises(
        CondgenError, match=r"the data is a tuple; give ImageDataset\(images, labels\)"
    ):
        audits.label_likelihood(classifier, data.batch(slice(None)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("audit", "settings"),
    [
        (audits.interpolation, {"pairs": 1}),
        (audits.interpolation, {"alphas": 2}),
        (audits.interpolation, {"pairs": 2.5}),
        (audits.classification, {"noise_draws": 0}),
    ],
)
def test_numbers_that_no_audit_can_be_made_with_are_refused(
    audit, settings: dict[str, float]
) -> None:
    classifier, data = two_classes()
    ((name, value),) = settings.items()
    with pytest.raises(CondgenError, match=f"{name} is {value}, expected a whole number of"):
        audit(classifier, data, detector=LikelihoodThreshold(1e9), **settings)


def test_perfect_ranks_have_an_interval_all_the_same() -> None:
    area, (low, high) = intervals.paired_auroc(np.arange(40.0), np.arange(40.0) + 100)
    assert (area, high) == (1, 1)
    assert low == pytest.approx(intervals.wilson(20, 20)[0], abs=1e-4)


def test_auroc_equals_counting_pairs() -> None:
    random = np.random.default_rng(0)
    negative, positive = (
        random.integers(0, 6, 40).astype(float),
        random.integers(1, 7, 30).astype(float),
    )
    wins = (positive[:, None] > negative).mean() + 0.5 * (positive[:, None] == negative).mean()
    assert intervals.auroc(negative, positive) == pytest.approx(wins)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    random = np.random.default_rng(0)
    covered_share = covered_mean = 0
    for _ in range(400):
        low, high = intervals.share(random.random(100) < 0.9)[1]
        covered_share += low <= 0.9 <= high
        low, high = intervals.mean(random.normal(3, 1, 100))[1]
        covered_mean += low <= 3 <= high
    assert 0.92 < covered_share / 400 < 0.98
    assert 0.92 < covered_mean / 400 < 0.98


def test_intervals_of_medians_cover_the_truth_as_often_as_they_say() -> None:
    random = np.random.default_rng(0)
    for number in (6, 24, 51):
        spans = [intervals.median(values)[1] for values in random.exponential(size=(2000, number))]
        assert 0.94 < np.mean([low <= np.log(2) <= high for low, high in spans]) < 0.985


@pytest.mark.parametrize(
    ("images", "pairs"), [(2000, 200), (100, 400)], ids=["few shared", "many shared"]
)
def test_intervals_of_pairs_cover_the_truth_as_often_as_they_say(images: int, pairs: int) -> None:
    random = np.random.default_rng(0)
    means, half_widths, shares = [], [], []
    for _ in range(400):
        of_image = random.normal(size=images)
        index = np.array([random.choice(images, 2, replace=False) for _ in range(pairs)])
        # Mean 0, variance 2.25.
        values = of_image[index].sum(1) + 0.5 * random.normal(size=pairs)
        (mean,), (error,) = intervals.paired_means(values[:, None], index)
        means.append(mean)
        half_widths.append(intervals.Z * error)
        low, high = intervals.paired_share(values > 1.5 * 1.2815515655, index)[1]
        shares.append(low <= 0.1 <= high)
    assert 0.92 <= np.mean(np.abs(means) <= half_widths) <= 0.975
    assert 0.92 <= np.mean(shares) <= 0.985
    assert np.mean(half_widths) / intervals.Z == pytest.approx(np.std(means), rel=0.1)


def test_where_all_pairs_agree_there_are_as_many_as_half_of_the_images() -> None:
    index = np.arange(20).reshape(10, 2).repeat(5, axis=0)
    assert intervals.paired_share(np.ones(50, bool), index) == intervals.share(np.ones(10, bool))


def test_a_record_reads_back_what_it_wrote(tmp_path) -> None:
    record = Record("classification", {"n": 3, "ci": [0.1, 0.2]}, {"label": np.arange(3)})
    record.save(tmp_path)
    again = Record.load(tmp_path, "classification")
    assert again.summary == record.summary
    assert np.array_equal(again.arrays["label"], np.arange(3))
    (arrays,) = tmp_path.glob("classification.*.npz")
    arrays.write_bytes(b"PK\x03\x04 truncated")
    with pytest.raises(RunError, match="damaged"):
        Record.load(tmp_path, "classification")


def test_a_record_that_cannot_be_written_leaves_the_former_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Record("classification", {"n": 3}, {"label": np.arange(3)}).save(tmp_path)

    def full(self: Path, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(CondgenError, match="No space left"):
        Record("classification", {"n": 4}, {"label": np.arange(4)}).save(tmp_path)
    former = Record.load(tmp_path, "classification")
    assert former.summary["n"] == len(former.arrays["label"]) == 3


def test_rejection_protects_a_classifier_whose_mistakes_are_unlikely() -> None:
    classifier, data = two_classes()
    wrong = np.arange(60) < 12
    images = np.where(wrong[:, None, None, None], 255 - data.images, data.images)
    # Far from the mean, so less likely than all others.
    images[wrong] = np.clip(images[wrong].astype(int) + 25, 0, 255).astype(np.uint8)
    data = ImageDataset(images, data.labels)
    detector = LikelihoodThreshold.at_quantile(
        predict(classifier, data.batch(slice(None))[0]).bits_per_dim, 0.8
    )
    summary = audits.classification(classifier, data, detector=detector).summary
    assert summary["misclassified"] == 12
    assert summary["accuracy"] == 0.8
    assert (
        summary["accuracy_accepted"],
        summary["accuracy_rejected"],
        summary["auroc_misclassified"],
    ) == (1, 0, 1)
    assert summary["accuracy_accepted_ci"][0] == pytest.approx(0.9259, abs=1e-4)  # Wilson, 48 of 48
    assert summary["auroc_misclassified_ci"][0] < 0.7  # 12 errors give a wide interval


def test_numbers_that_no_image_tells_are_null() -> None:
    classifier, data = two_classes()
    summary = audits.classification(classifier, data, detector=LikelihoodThreshold(-1e9)).summary
    assert (
        summary["accuracy_accepted"]
        is summary["accuracy_accepted_ci"]
        is summary["auroc_misclassified"]
        is None
    )
    assert summary["accuracy_rejected"] == 1


def test_risk_and_coverage_of_each_threshold() -> None:
    score, correct = (
        np.array([0.5, 2.0, 1.0, 1.0, np.inf]),
        np.array([True, False, True, False, False]),
    )
    coverage, risk = risk_coverage(score, correct)
    for place, threshold in enumerate((0.5, 1.0, 2.0, np.inf)):
        assert coverage[place] == np.mean(score <= threshold)
        assert risk[place] == pytest.approx(np.mean(~correct[score <= threshold]))


def test_a_likelihood_of_0_makes_no_nan_and_valid_json(tmp_path: Path) -> None:
    _, data = two_classes()
    classifier = GenerativeClassifier(Answering(-math.inf, below=0.2))
    records = [
        audits.classification(classifier, data, detector=ACCEPT_ALL),
        audits.label_likelihood(classifier, data),
        audits.interpolation(classifier, data, detector=ACCEPT_ALL, pairs=20, alphas=5, quiet=True),
    ]
    impossible = int((data.images[:, 0, 0, 0] <= 51).sum())
    assert records[0].summary["warnings"] == [
        f"{impossible} of 60 images have likelihood 0, so that means of bits/dim are infinite."
    ]
    assert records[0].summary["bits_per_dim"] is None
    assert records[0].summary["accepted"] == 1 - impossible / 60
    for record in records:
        record.save(tmp_path)
        json.dumps(record.summary, allow_nan=False)
        again = Record.load(tmp_path, record.audit)
        assert again.summary == record.summary
        for part in section_of(record.audit).parts:
            if part.table:
                shown = " ".join(itertools.chain(*part.table([AuditedModel("m", [again])]).rows))
                assert "nan" not in shown
                assert "None" not in shown
            if part.figure:
                part.figure(AuditedModel("m", [again])).draw_without_rendering()
            if part.words:
                said = part.words(AuditedModel("m", [again]))
                assert "nan" not in said
                assert "None" not in said


class OfTheUnitInterval(ClassConditionalDensity):
    """A density of x in [0, 1] instead of the quantized values: the wrong unit."""

    num_classes, event_shape = 2, (1, 4, 4)

    def class_log_prob(self, x: torch.Tensor) -> torch.Tensor:
        z = (x[:, None] - MEAN) / 0.05
        return (-0.5 * z.square() - math.log(0.05 * math.sqrt(2 * math.pi))).flatten(2).sum(-1)


def test_negative_bits_per_dim_are_called_so_wherever_they_are_shown() -> None:
    _, data = two_classes()
    wrong, right = GenerativeClassifier(OfTheUnitInterval()), two_classes()[0]
    for audit, settings in (
        (audits.classification, {"detector": ACCEPT_ALL}),
        (audits.label_likelihood, {}),
        (audits.interpolation, {"detector": ACCEPT_ALL, "pairs": 4, "quiet": True}),
    ):
        record = audit(wrong, data, **settings)
        (warning,) = record.summary["warnings"]
        assert "below 0, which no likelihood of 256 pixel values can be" in warning
        assert "Subtract log(255) nats per dimension" in warning
        assert audit(right, data, **settings).summary["warnings"] == []
        table, *_ = section_of(record.audit).tables([AuditedModel("m", [record])])
        assert warning in table.caption


def test_every_audit_takes_a_classifier_and_data_and_leaves_the_mode() -> None:
    classifier, data = two_classes()
    classifier.train()
    audits.classification(classifier, data, detector=ACCEPT_ALL)
    audits.label_likelihood(classifier, data)
    audits.interpolation(classifier, data, detector=ACCEPT_ALL, pairs=4, quiet=True)
    assert classifier.training
    assert classifier.density.training


class Sampled(DiagonalGaussian):
    """A density on [-1, 1] whose samples are the class means."""

    bounds = (-1.0, 1.0)

    def sample(self, label, temperature=1.0, *, generator):
        assert not self.training
        return 2 * self.mean[label] - 1


def test_samples_take_a_density_or_a_classifier_and_data() -> None:
    _, data = two_classes()
    density = Sampled(MEAN, scale=0.05).train()
    classifier = GenerativeClassifier(density)
    made = [
        audits.samples(density, count=2),
        audits.samples(classifier, count=2),
        audits.samples(classifier, data, count=2),
    ]
    for record in made:
        np.testing.assert_allclose(
            record.arrays["images"], MEAN.numpy().repeat(2, axis=0), atol=1e-6
        )
    assert density.training
    with pytest.raises(CondgenError, match="cannot be sampled from"):
        audits.samples(two_classes()[0], data)
    with pytest.raises(DataError, match="17 levels"):
        audits.samples(classifier, ImageDataset(data.images // 16, data.labels, pixel_levels=17))
    with pytest.raises(CondgenError, match="the classifier is a int"):
        audits.samples(3)  # type: ignore[arg-type]
    with pytest.raises(CondgenError, match="temperature is 'hot'"):
        audits.samples(classifier, temperature="hot")  # type: ignore[arg-type]


def test_the_class_prior_is_noted() -> None:
    _, data = two_classes()
    density = DiagonalGaussian(MEAN, scale=0.05)
    for prior, noted in ((None, "uniform"), (torch.tensor([0.75, 0.25]), [0.75, 0.25])):
        classifier = GenerativeClassifier(density, prior)
        assert (
            audits.classification(classifier, data, detector=ACCEPT_ALL).summary["class_prior"]
            == noted
        )
        assert audits.label_likelihood(classifier, data).summary["class_prior"] == noted


@pytest.mark.parametrize("audit", [audits.classification, audits.interpolation])
def test_another_threshold_drops_the_warnings_about_the_former(audit) -> None:
    classifier, data = two_classes()
    record = audit(
        classifier,
        data,
        detector=LikelihoodThreshold(9.0),
        **({"pairs": 4} if audit is audits.interpolation else {}),
    )
    assert record.summary["detector"]["warnings"]
    moved = AUDITS.get(record.audit).at_threshold(record, 7.9)
    assert "warnings" not in moved.summary["detector"]
    assert moved.summary["class_prior"] == "uniform"
    assert set(moved.summary) == set(record.summary)


@pytest.mark.parametrize("seed", [-1, 0.5, None])
def test_seeds_that_are_none_are_refused_before_the_work(seed) -> None:
    classifier, data = two_classes()
    for audit in (audits.classification, audits.interpolation):
        with pytest.raises(CondgenError, match="expected a whole number of at least 0"):
            audit(classifier, data, detector=ACCEPT_ALL, seed=seed)
