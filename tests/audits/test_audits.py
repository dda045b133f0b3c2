"""Audits against numbers known beforehand."""

import errno
from pathlib import Path

import numpy as np
import pytest
import torch

from condgen import audits
from condgen.audits import intervals
from condgen.audits.records import Record
from condgen.classifier import GenerativeClassifier, predict
from condgen.data.dataset import ImageDataset
from condgen.density import ClassConditionalDensity
from condgen.detectors import LikelihoodThreshold
from condgen.errors import CondgenError, DataError, RunError
from condgen.models.gaussian import DiagonalGaussian
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
    assert record.summary["bits_per_dim_deployed"] == pytest.approx(record.arrays["score"].mean(), rel=1e-6)
    assert record.summary["bits_per_dim_deployed"] != pytest.approx(record.summary["bits_per_dim"], rel=1e-4)
    low, high = record.summary["bits_per_dim_deployed_ci"]
    assert low < record.summary["bits_per_dim_deployed"] < high


def test_no_number_is_no_class() -> None:
    _, data = two_classes()
    classifier = GenerativeClassifier(DiagonalGaussian(MEAN * torch.nan, scale=0.05))
    with pytest.raises(CondgenError, match=r"NaN or \+infinity for 60 of 60 images"):
        audits.classification(classifier, data, detector=ACCEPT_ALL)


def test_levels_of_other_images_are_refused() -> None:
    classifier, data = two_classes()
    with pytest.raises(DataError, match="has 17 levels per pixel, the model's pixel_levels is 256"):
        audits.classification(classifier, ImageDataset(data.images // 16, data.labels, pixel_levels=17), detector=ACCEPT_ALL)


def test_classification_counts_what_is_wrong() -> None:
    classifier, data = two_classes()
    half = np.where(np.arange(60) < 15, 1 - data.labels, data.labels)
    record = audits.classification(classifier, ImageDataset(data.images, half), detector=ACCEPT_ALL)
    assert record.summary["accuracy"] == 0.75


def test_membership_of_well_separated_classes_is_noticed() -> None:
    classifier, data = two_classes()
    summary = audits.membership(classifier, data).summary
    assert summary["auroc"] == 1
    distance = ((MEAN[0] - MEAN[1]) ** 2).sum().item() / (2 * 0.05**2)
    assert summary["gap_nats"] == pytest.approx(distance, rel=0.05)


class Indifferent(ClassConditionalDensity):
    """The same density for all classes: a likelihood that knows nothing of the label."""

    num_classes, event_shape = 3, (1, 4, 4)

    def class_log_prob(self, x: torch.Tensor) -> torch.Tensor:
        return -x.flatten(1).sum(1, keepdim=True).expand(-1, 3)


def test_membership_under_an_indifferent_model_is_a_coin_toss() -> None:
    _, data = two_classes()
    summary = audits.membership(GenerativeClassifier(Indifferent()), data).summary
    assert summary["auroc"] == 0.5
    assert summary["gap_nats"] == 0
    assert summary["positive"] == "wrong label"


def test_interpolation_between_two_gaussians_follows_the_closed_form() -> None:
    classifier, data = two_classes()
    record = audits.interpolation(classifier, data, detector=ACCEPT_ALL, pairs=20, alphas=11, quiet=True)
    x, _ = data.batch(slice(None))
    first, second = record.arrays["index"].T
    assert (data.labels[first] != data.labels[second]).all()
    for row, (i, j) in enumerate(zip(first, second, strict=True)):
        line = torch.lerp(x[i], x[j], torch.linspace(0, 1, 11)[:, None, None, None])
        np.testing.assert_allclose(record.arrays["bits_per_dim"][row], classifier(line).bits_per_dim, rtol=1e-5)
        assert record.arrays["posterior"][row, 0, 0] == pytest.approx(1, abs=1e-3)
        assert record.arrays["posterior"][row, -1, 1] == pytest.approx(1, abs=1e-3)
    assert record.summary["accepted_all_along"] == 1
    assert record.summary["bits_per_dim_middle"] > record.summary["bits_per_dim_ends"] + 1


def test_interpolation_starts_from_accepted_images_and_is_stopped_in_the_middle() -> None:
    classifier, data = two_classes()
    bits = predict(classifier, data.batch(slice(None))[0]).bits_per_dim
    detector = LikelihoodThreshold.at_quantile(bits, 0.8)
    record = audits.interpolation(classifier, data, detector=detector, pairs=30, alphas=11, quiet=True)
    assert record.arrays["accepted"][:, [0, -1]].all()
    assert record.summary["accepted_all_along"] == 0


def test_interpolation_without_usable_images_says_what_to_do() -> None:
    classifier, data = two_classes()
    with pytest.raises(CondgenError, match=r"0 of 60 test images.*Raise detector.threshold"):
        audits.interpolation(classifier, data, detector=LikelihoodThreshold(-1e9))


@pytest.mark.parametrize("audit", [audits.classification, audits.membership, audits.interpolation, audits.adversarial])
@pytest.mark.parametrize("number", [0, 1])
def test_too_few_images_are_refused(audit, number: int) -> None:
    classifier, data = two_classes()
    settings = {audits.membership: {}, audits.adversarial: {"detector": ACCEPT_ALL, "starts": data}}
    few = data.take(np.arange(number))
    with pytest.raises(CondgenError, match="use 2 or more"):
        audit(classifier, few, **settings.get(audit, {"detector": ACCEPT_ALL}))


@pytest.mark.parametrize("audit", [audits.membership, audits.interpolation, audits.adversarial])
def test_a_model_of_one_class_has_no_wrong_label(audit) -> None:
    data = ImageDataset(np.zeros((5, 1, 4, 4), np.uint8), np.zeros(5, np.int64))
    settings = {audits.membership: {}, audits.adversarial: {"detector": ACCEPT_ALL, "starts": data}}
    with pytest.raises(CondgenError, match="the model knows 1 class"):
        audit(GenerativeClassifier(DiagonalGaussian(MEAN[:1])), data, **settings.get(audit, {"detector": ACCEPT_ALL}))


class Unlike:
    """A detector of one's own."""

    threshold = torch.tensor(8.0)

    def __init__(self, score):
        self.score = score


def test_a_detector_of_ones_own_is_checked_and_its_threshold_is_a_number() -> None:
    classifier, data = two_classes()
    record = audits.classification(classifier, data, detector=Unlike(lambda prediction: prediction.bits_per_dim))
    assert type(record.summary["threshold"]) is float
    for score in (lambda p: p.bits_per_dim[:, None], lambda p: p.bits_per_dim.detach().numpy(), lambda p: p.bits_per_dim[:3]):
        with pytest.raises(CondgenError, match=r"Unlike\.score gave"):
            audits.classification(classifier, data, detector=Unlike(score))


def test_what_is_no_classifier_and_no_data_set_is_refused() -> None:
    classifier, data = two_classes()
    with pytest.raises(CondgenError, match=r"the classifier is a DiagonalGaussian; give GenerativeClassifier\(your model\)"):
        audits.membership(classifier.density, data)  # type: ignore[arg-type]
    with pytest.raises(CondgenError, match=r"the data is a tuple; give ImageDataset\(images, labels\)"):
        audits.membership(classifier, data.batch(slice(None)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("audit", "settings"),
    [
        (audits.interpolation, {"pairs": 1}),
        (audits.interpolation, {"alphas": 2}),
        (audits.interpolation, {"pairs": 2.5}),
        (audits.classification, {"noise_draws": 0}),
    ],
)
def test_numbers_that_no_audit_can_be_made_with_are_refused(audit, settings: dict[str, float]) -> None:
    classifier, data = two_classes()
    ((name, value),) = settings.items()
    with pytest.raises(CondgenError, match=f"{name} is {value}, expected a whole number from"):
        audit(classifier, data, detector=LikelihoodThreshold(1e9), **settings)


def test_perfect_ranks_have_an_interval_all_the_same() -> None:
    area, (low, high) = intervals.paired_auroc(np.arange(40.0), np.arange(40.0) + 100)
    assert (area, high) == (1, 1)
    assert low == pytest.approx(intervals.wilson(20, 20)[0], abs=1e-4)


def test_auroc_equals_counting_pairs() -> None:
    random = np.random.default_rng(0)
    negative, positive = random.integers(0, 6, 40).astype(float), random.integers(1, 7, 30).astype(float)
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


@pytest.mark.parametrize(("images", "pairs"), [(2000, 200), (100, 400)], ids=["few shared", "many shared"])
def test_intervals_of_pairs_cover_the_truth_as_often_as_they_say(images: int, pairs: int) -> None:
    random = np.random.default_rng(0)
    means, half_widths, shares = [], [], []
    for _ in range(400):
        of_image = random.normal(size=images)
        index = np.array([random.choice(images, 2, replace=False) for _ in range(pairs)])
        values = of_image[index].sum(1) + 0.5 * random.normal(size=pairs)  # a variance of 2.25 around 0
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
    assert sorted(path.name for path in tmp_path.iterdir()) == ["classification.json", "classification.npz"]
    (tmp_path / "classification.npz").write_bytes(b"PK\x03\x04 truncated")
    with pytest.raises(RunError, match="damaged"):
        Record.load(tmp_path, "classification")


def test_a_record_that_cannot_be_written_leaves_the_former_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Record("classification", {"n": 3}, {"label": np.arange(3)}).save(tmp_path)

    def full(self: Path, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(CondgenError, match="No space left"):
        Record("classification", {"n": 4}, {"label": np.arange(4)}).save(tmp_path)
    former = Record.load(tmp_path, "classification")
    assert former.summary["n"] == len(former.arrays["label"]) == 3
