"""Labeled images, embedded data sets, composition and augmentation."""

from pathlib import Path

import numpy as np
import pytest
import torch

from condgen.data import digits as embedded
from condgen.data.augmentation import Augmentation
from condgen.data.backgrounds import compose
from condgen.data.catalogue import open_dataset
from condgen.data.dataset import ImageDataset, Splits
from condgen.data.digits import background_patches
from condgen.errors import DataError

IMAGES = np.zeros((4, 1, 2, 2), np.uint8)
BAD = {
    "floats": ((IMAGES.astype(float), [0, 1, 0, 1]), {}, "expected uint8"),
    "no channels": (
        (IMAGES[:, 0], [0, 1, 0, 1]),
        {},
        r"shape \(4, 2, 2\), expected \(N, C, H, W\); images\[:, None\] gives them a channel",
    ),
    "no images": ((IMAGES[0, 0], [0, 1]), {}, r"shape \(2, 2\), expected \(N, C, H, W\)\."),
    "no pixels": (
        (IMAGES[:, :, :0], [0, 1, 0, 1]),
        {},
        r"images of shape \(1, 0, 2\) have no pixels",
    ),
    "far label": (
        (IMAGES, [0, 5000, 0, 1]),
        {},
        "label 5000 without class names; number the classes from 0 on",
    ),
    "too few labels": ((IMAGES, [0, 1]), {}, "4 images but labels of shape"),
    "float labels": ((IMAGES, [0.0, 1.0, 0.0, 1.0]), {}, "labels are float64"),
    "negative label": ((IMAGES, [0, -1, 0, 1]), {}, "labels run from -1"),
    "label without class": (
        (IMAGES, [0, 1, 2, 1]),
        {"class_names": ("a", "b")},
        "there are 2 classes",
    ),
    "beyond the levels": (
        (IMAGES + 17, [0, 1, 0, 1]),
        {"pixel_levels": 17},
        "below pixel_levels = 17",
    ),
    "no names": (
        (IMAGES, [0, 1, 0, 1]),
        {"class_names": "ab"},
        "class_names is 'ab', expected one name for each class",
    ),
    "numbers for names": (
        (IMAGES, [0, 1, 0, 1]),
        {"class_names": (0, 1)},
        "class name 0 is not text",
    ),
    "one name twice": (
        (IMAGES, [0, 1, 0, 1]),
        {"class_names": ("a", "a")},
        "two classes have the name 'a'",
    ),
    "ragged images": (([[0], [0, 1]], [0, 1]), {}, "images are not an array"),
    "no labels": ((IMAGES, None), {}, "labels are object"),
    "half levels": ((IMAGES, [0, 1, 0, 1]), {"pixel_levels": 2.5}, "expected 2 to 256"),
    "levels": ((IMAGES, [0, 1, 0, 1]), {"pixel_levels": 1}, "expected 2 to 256"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_data_set_is_refused(name: str) -> None:
    arguments, settings, message = BAD[name]
    with pytest.raises(DataError, match=message):
        ImageDataset(*arguments, **settings)


def test_batches_cover_all_images_in_order_and_in_unit_range() -> None:
    images = np.arange(10, dtype=np.uint8).reshape(5, 1, 1, 2)
    data = ImageDataset(images, [0, 1, 0, 1, 0], pixel_levels=11)
    x = torch.cat([x for x, _ in data.batches(2)])
    torch.testing.assert_close(x, torch.arange(10.0).view(5, 1, 1, 2) / 10)


@pytest.mark.parametrize(("name", "times"), [("digits", 1), ("bg-digits", 12)])
def test_embedded_data_is_split_by_class_without_overlap(name: str, times: int) -> None:
    splits = open_dataset(name)
    assert [len(part) for _, part in splits.items()] == [times * 1257, 180, 360]
    assert splits.train.pixel_levels == 17
    for _, part in splits.items():
        assert np.abs(np.bincount(part.labels) / len(part) - 0.1).max() < 0.02
    seen = [{image.tobytes() for image in part.images} for _, part in splits.items()]
    assert not seen[0] & seen[2]
    assert not seen[1] & seen[2]
    assert not seen[0] & seen[1]


def test_background_patches_are_cut_apart_and_drawn_once() -> None:
    plain, composed = open_dataset("digits"), open_dataset("bg-digits")
    patches = {patch.tobytes() for patch in background_patches()}
    assert (
        len(patches) == len(background_patches()) >= sum(len(part) for _, part in composed.items())
    )
    for (_, foreground), (_, part) in zip(plain.items(), composed.items(), strict=True):
        times = len(part) // len(foreground)
        digit = np.tile(foreground.images, (times, 1, 1, 1))
        ink = digit > 0
        assert np.array_equal(part.images[ink], digit[ink])
        assert np.array_equal(part.labels, np.tile(foreground.labels, times))


def test_no_patch_lies_behind_two_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without ink, the complete patches are visible."""
    monkeypatch.setattr(embedded, "compose", lambda foreground, background: background)
    seen = [patch.tobytes() for _, part in embedded.bg_digits().items() for patch in part.images]
    assert len(seen) == len(set(seen)) == 12 * 1257 + 540


def test_compose_keeps_the_digit_and_shows_the_background_elsewhere() -> None:
    random = np.random.default_rng(0)
    digit = random.integers(0, 2, (3, 1, 4, 4), dtype=np.uint8) * 200
    background = random.integers(0, 256, (3, 1, 4, 4), dtype=np.uint8)
    composed = compose(digit, background)
    assert (composed[digit > 0] == 200).all()
    assert (composed[digit == 0] == background[digit == 0]).all()
    with pytest.raises(DataError, match="same shape"):
        compose(digit, background[:2])


def test_no_augmentation_is_the_identity() -> None:
    x = torch.rand(5, 3, 4, 4)
    assert torch.equal(Augmentation()(x, torch.Generator()), x)


def test_crops_are_shifts_of_the_edge_padded_image_and_differ_between_images() -> None:
    x = torch.rand(1, 2, 5, 5).expand(64, -1, -1, -1)
    crops = Augmentation(crop_padding=2)(x, torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(x[:1], (2, 2, 2, 2), mode="replicate")[0]
    windows = [padded[:, i : i + 5, j : j + 5] for i in range(5) for j in range(5)]
    found = {
        next(k for k, window in enumerate(windows) if torch.equal(window, crop)) for crop in crops
    }
    assert len(found) > 15


def test_flips_mirror_about_half_of_the_images() -> None:
    x = torch.rand(400, 1, 3, 4)
    flipped = Augmentation(flip=True)(x, torch.Generator().manual_seed(0))
    mirrored = (flipped == x.flip(-1)).flatten(1).all(1)
    assert (mirrored | (flipped == x).flatten(1).all(1)).all()
    assert 0.4 < mirrored.float().mean() < 0.6


def test_an_unknown_data_set_is_met_with_the_nearest() -> None:
    with pytest.raises(DataError, match="did you mean 'digits'"):
        open_dataset("digit")


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.uint16, np.int32, np.uint64])
def test_labels_of_any_integer_type_are_taken(kind: type) -> None:
    data = ImageDataset(IMAGES, np.array([0, 1, 0, 2], kind))
    assert data.labels.dtype == np.int64
    assert data.class_names == ("0", "1", "2")


def test_parts_that_number_their_classes_differently_are_no_splits() -> None:
    first, other = (
        ImageDataset(IMAGES, [0, 1, 0, 1], names) for names in (("cat", "dog"), ("dog", "cat"))
    )
    with pytest.raises(
        DataError,
        match="class 0 is 'cat' in train and 'dog' in test; number the classes of all parts alike",
    ):
        Splits(first, first, other, "", "")
    fewer = ImageDataset(IMAGES, [0, 0, 0, 0])
    Splits(ImageDataset(IMAGES, [0, 1, 0, 2]), fewer, fewer, "", "")  # classes without names


def test_parts_of_other_levels_are_no_splits() -> None:
    first, other = (ImageDataset(IMAGES, [0, 1, 0, 1], pixel_levels=levels) for levels in (17, 256))
    with pytest.raises(DataError, match="pixel_levels is 17 in train and 256 in validation"):
        Splits(first, other, first, "", "")


@pytest.mark.parametrize(
    "request_",
    [
        {"name": None},
        {"name": 3},
        {"seed": -1},
        {"seed": 0.5},
        {"seed": None},
        {"size": 0},
        {"size": "8"},
        {"data_dir": 3},
    ],
    ids=str,
)
def test_a_request_of_the_wrong_type_is_one_sentence(request_: dict[str, object]) -> None:
    with pytest.raises(DataError, match="expected"):
        open_dataset(**{"name": "mnist", **request_})


@pytest.mark.parametrize(
    ("largest", "stated", "levels"),
    [(1, None, 2), (16, None, 17), (1, 256, 256), (200, None, 256), (0, None, 256)],
)
def test_arrays_have_the_levels_that_they_use_or_say(
    tmp_path: Path, largest: int, stated: int | None, levels: int
) -> None:
    images = np.random.default_rng(0).integers(0, largest + 1, (60, 4, 4), dtype=np.uint8)
    images[0] = largest
    np.savez(
        tmp_path / "a.npz",
        images=images,
        labels=np.arange(60) % 2,
        **({"pixel_levels": stated} if stated else {}),
    )
    splits = open_dataset(f"npz:{tmp_path}/a.npz")
    assert {part.pixel_levels for _, part in splits.items()} == {levels}
    assert any(f"so {levels} levels were" in note for note in splits.notes) == (levels < 256)


@pytest.mark.parametrize("stated", [16, 257, 0, [17, 17], 17.5])
def test_levels_that_cannot_be_are_refused(tmp_path: Path, stated: object) -> None:
    images = np.full((60, 4, 4), 16, np.uint8)
    np.savez(tmp_path / "a.npz", images=images, labels=np.arange(60) % 2, pixel_levels=stated)
    with pytest.raises(
        DataError, match="expected a whole number above the largest value 16, up to 256"
    ):
        open_dataset(f"npz:{tmp_path}/a.npz")
