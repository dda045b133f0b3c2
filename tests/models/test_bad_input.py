"""Invalid model settings: the error names both numbers and the nearest valid one."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from condgen import audits, fit
from condgen.classifier import GenerativeClassifier
from condgen.data.dataset import ImageDataset, Splits
from condgen.detectors import LikelihoodThreshold
from condgen.errors import CondgenError
from condgen.models.gaussian import DiagonalGaussian
from condgen.models.glow import Glow
from condgen.models.glow.bijections import MultiScale, Squeeze
from condgen.models.glow.coupling import AffineCoupling
from condgen.models.glow.priors import ClassMixture, SplitPrior


def glow(height: int = 8, **settings: int) -> Glow:
    return Glow(
        ClassMixture(2, 2 * height * 8),
        event_shape=(1, height, 8),
        **{"levels": 2, "blocks": 1, "width": 4, **settings},
    )


MODELS: dict[str, tuple[Callable[[], object], str]] = {
    "levels": (
        lambda: glow(height=12, levels=4),
        "12x8 cannot be halved for 4 levels; use 1 to 3 levels or images of 16x8",
    ),
    "no level": (lambda: glow(levels=0), "cannot have 0 levels; use 1 to 4 levels"),
    "no width": (
        lambda: glow(width=0),
        "width 0 has no hidden channels; use a width of 1 or more",
    ),
    "blocks": (lambda: glow(blocks=-1), "cannot have -1 blocks; use 0 or more"),
    "odd coupling": (
        lambda: AffineCoupling(3, width=4),
        "splits its channels in half, but there are 3; use 4",
    ),
    "one channel": (lambda: AffineCoupling(1, width=4), "there are 1; use 2"),
    "odd levels": (
        lambda: MultiScale([Squeeze(), Squeeze()], (3, 4, 4)),
        "levels split their channels in half, but there are 3; use 4",
    ),
    "odd size": (
        lambda: MultiScale([Squeeze(), Squeeze()], (2, 5, 4)),
        "5x4 cannot be halved for 2 levels; use 1 to 1 levels",
    ),
    "classes beyond z": (
        lambda: SplitPrior(40, 32),
        "40 classes, but z has 32; use larger images (z of 41 or more)",
    ),
    "no family": (
        lambda: ClassMixture(2, 8, family="gausian"),
        "family 'gausian' is not known; did you mean 'gaussian'",
    ),
    "smoothed to nothing": (
        lambda: ClassMixture(2, 8, label_smoothing=1.0),
        "label smoothing is 1, expected a probability below 1",
    ),
    "no scale": (
        lambda: SplitPrior(2, 8, scale=0.0),
        "class subspace is 0, expected a positive number such as 0.3",
    ),
    "nothing to smooth over": (
        lambda: ClassMixture(1, 8, label_smoothing=0.1),
        "0.1 needs 2 or more classes, but there is 1",
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_that_cannot_be_is_refused(name: str) -> None:
    make, message = MODELS[name]
    with pytest.raises(CondgenError) as error:
        make()
    assert message in str(error.value)


def test_one_class_is_enough_to_draw_from() -> None:
    prior = ClassMixture(1, 8)
    assert prior.sample(torch.zeros(3, dtype=torch.long), 1.0, torch.Generator()).shape == (3, 8)


def images(channels: int = 1, size: int = 4, classes: int = 2) -> ImageDataset:
    values = np.zeros((6, channels, size, size), np.uint8)
    return ImageDataset(
        values, np.arange(6) % classes, tuple(map(str, range(classes))), name="scans"
    )


DATA = {
    "channels": (
        images(channels=3),
        "scans has images of 3x4x4, the model is for 1x4x4; use images of 1x4x4",
    ),
    "size": (images(size=5), "scans has images of 1x5x5, the model is for 1x4x4"),
    "classes": (
        images(classes=3),
        "scans has 3 classes, the model has 2; leave out all but 2, or use a model for 3",
    ),
}
USES: dict[str, Callable[[GenerativeClassifier, ImageDataset], object]] = {
    "fit": lambda classifier, data: fit(
        classifier,
        Splits(data, data, data, "", ""),
        "never",
        training={"batch_size": 2},
        quiet=True,
    ),
    "classification": lambda classifier, data: audits.classification(
        classifier, data, detector=LikelihoodThreshold(1.0)
    ),
    "label-likelihood": audits.label_likelihood,
    "interpolation": lambda classifier, data: audits.interpolation(
        classifier, data, detector=LikelihoodThreshold(1.0)
    ),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("name", DATA)
def test_data_that_a_model_is_not_for_is_refused(name: str, use: str) -> None:
    data, message = DATA[name]
    with pytest.raises(CondgenError) as error:
        USES[use](GenerativeClassifier(DiagonalGaussian(torch.rand(2, 1, 4, 4))), data)
    assert message in str(error.value)
