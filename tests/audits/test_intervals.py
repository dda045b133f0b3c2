"""Intervals have their nominal coverage, also with few images; infinities give no NaN."""

import math

import numpy as np
import pytest
from scipy.stats import norm

from condgen.audits import intervals


@pytest.mark.parametrize("number", [2, 3, 5, 10, 30])
def test_intervals_of_means_cover_with_few_images(number: int) -> None:
    random = np.random.default_rng(0)
    spans = [intervals.mean(random.normal(3, 1, number))[1] for _ in range(1000)]
    assert 0.93 < np.mean([low <= 3 <= high for low, high in spans]) < 0.97


@pytest.mark.parametrize("images", [5, 20, 50, 200])
@pytest.mark.parametrize("shift", [0.0, 2.2, 3.0, 3.8])
@pytest.mark.parametrize("together", [0.0, 0.9])
def test_intervals_of_paired_auroc_cover_near_1_too(
    images: int, shift: float, together: float
) -> None:
    random, truth, covered = np.random.default_rng(0), norm.cdf(shift / math.sqrt(2)), 0
    for _ in range(300):
        right, other = random.normal(size=(2, images))
        wrong = shift + together * right + math.sqrt(1 - together**2) * other
        area, (low, high) = intervals.paired_auroc(right, wrong)
        assert low <= area <= high
        covered += low <= truth <= high
    assert covered / 300 > 0.92


@pytest.mark.parametrize(("few", "many"), [(1, 50), (3, 50), (10, 200), (40, 100)])
@pytest.mark.parametrize("shift", [0.0, 1.0, 3.0])
def test_intervals_of_the_auroc_of_two_groups_cover(few: int, many: int, shift: float) -> None:
    random, truth = np.random.default_rng(0), norm.cdf(shift / math.sqrt(2))
    spans = [
        intervals.independent_auroc(random.normal(size=many), random.normal(shift, size=few))[1]
        for _ in range(300)
    ]
    assert np.mean([low <= truth <= high for low, high in spans]) > 0.92


@pytest.mark.parametrize(("images", "pairs"), [(5, 50), (8, 100), (500, 4)])
def test_intervals_of_pairs_of_few_images_cover(images: int, pairs: int) -> None:
    random, covered = np.random.default_rng(0), 0
    for _ in range(400):
        of_image = random.normal(size=images)
        index = np.array([random.choice(images, 2, replace=False) for _ in range(pairs)])
        values = of_image[index].sum(1, keepdims=True) + 0.5 * random.normal(size=(pairs, 1))
        _, ((low, high),) = intervals.paired_spans(values, index)
        covered += low <= 0 <= high
    assert covered / 400 > 0.92


def test_scores_that_tie_everywhere_bound_the_auroc_as_half_of_the_images_would() -> None:
    same = np.linspace(0, 1, 40)
    area, span = intervals.paired_auroc(same, same)
    assert area == 0.5
    assert span == pytest.approx(intervals.wilson(10, 20), abs=1e-4)


def test_infinite_values_have_a_mean_and_no_bounds() -> None:
    assert intervals.mean(np.array([1.0, np.inf])) == (math.inf, (-math.inf, math.inf))
    assert math.isnan(intervals.mean(np.array([-np.inf, np.inf]))[0])
    assert intervals.mean(np.array([1.0])) == (1.0, (-math.inf, math.inf))
    values = np.array([[1.0, np.inf], [2.0, 1.0], [4.0, 1.0]])
    means, spans = intervals.paired_spans(values, np.array([[0, 1], [2, 3], [1, 2]]))
    assert means.tolist() == pytest.approx([7 / 3, math.inf])
    assert np.isfinite(spans[0]).all()
    assert spans[1].tolist() == [-math.inf, math.inf]
