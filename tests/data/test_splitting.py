"""The split: stratified by class, by content, and stable when a file is added."""

import os
from pathlib import Path

import numpy as np
import pytest

from condgen.data.catalogue import open_dataset
from condgen.data.dataset import Splits
from condgen.data.splitting import by_content, held_out, part_ranges
from condgen.errors import DataError
from tests.data.files import encoded, parquet_bytes, pictures, write_folder

PUBLISHED = {  # first digits of each sha256, as in the records of published runs
    "digits": {
        "train": "b5d834015c77c8e3",
        "validation": "9ef09750ec2e1f2a",
        "test": "42e64784714e2175",
    },
    "bg-digits": {
        "train": "30bbe7b91fa812a4",
        "validation": "d598cc6c80e593ef",
        "test": "624db3df5bb69e71",
    },
    "mnist": {
        "train": "ec1d24b4a0acaaa7",
        "validation": "8085ea4eea0f2c45",
        "test": "95e422eb76e4770c",
    },
    "cifar10": {
        "train": "4b940ae0ef94a22f",
        "validation": "7858ded812d3e3aa",
        "test": "1094e90dc65dc0da",
    },
    "bg-mnist-0": {
        "train": "16a994753b878956",
        "validation": "31ce542f65814ba6",
        "test": "4906cbc44329cca3",
    },
    "bg-mnist-1": {
        "train": "04cb890554644500",
        "validation": "1d90ecd93b25079c",
        "test": "c95d8e359532c262",
    },
    "bg-mnist-5": {
        "train": "bfe406dec777503e",
        "validation": "f2a8be9f4d0d8a5b",
        "test": "ea26f3f881cc6e31",
    },
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONDGEN_CACHE", str(tmp_path_factory.mktemp("cache")))


def part_of_each(splits: Splits) -> dict[bytes, str]:
    return {image.tobytes(): name for name, part in splits.items() for image in part.images}


def moved(before: dict[bytes, str], after: dict[bytes, str]) -> int:
    return sum(after[image] != part for image, part in before.items())


def test_each_class_gives_the_same_share(tmp_path: Path) -> None:
    splits = open_dataset(f"folder:{write_folder(tmp_path, {'a': 300, 'b': 100, 'c': 20})}")
    assert splits.test.class_counts() == [30, 10, 2]
    assert splits.validation.class_counts() in ([27, 9, 1], [26, 9, 2])


def test_one_more_file_leaves_nearly_all_images_in_their_parts(tmp_path: Path) -> None:
    """A split by shuffled positions would move a third of the images."""
    name = f"folder:{write_folder(tmp_path, {'a': 200, 'b': 100})}"
    before = part_of_each(open_dataset(name))
    for seed in range(5):
        (tmp_path / "a" / f"0{seed}new.png").write_bytes(encoded(pictures(1, seed=50 + seed)[0]))
        after = part_of_each(open_dataset(name))
        assert moved(before, after) <= 4
        before = after


def test_the_split_does_not_depend_on_names_or_size(tmp_path: Path) -> None:
    name = f"folder:{write_folder(tmp_path, {'a': 30, 'b': 30}, (8, 8))}"
    before = part_of_each(open_dataset(name))
    for path in (tmp_path / "a").iterdir():
        path.rename(path.with_name(f"{int(path.stem) * 7 % 100}.png"))
    assert part_of_each(open_dataset(name)) == before
    whole, small = open_dataset(name), open_dataset(name, size=4)
    assert [part.labels.tolist() for _, part in whole.items()] == [
        part.labels.tolist() for _, part in small.items()
    ]


def test_the_seed_chooses_another_split(tmp_path: Path) -> None:
    name = f"folder:{write_folder(tmp_path, {'a': 100, 'b': 100})}"
    splits = [part_of_each(open_dataset(name, seed=seed)) for seed in (0, 0, 1)]
    assert splits[0] == splits[1]
    assert moved(splits[0], splits[2]) > 30


def test_images_of_an_array_are_split_alike(tmp_path: Path) -> None:
    images, labels = np.stack(pictures(200)), np.arange(200) % 2
    np.savez(tmp_path / "a.npz", images=images, labels=labels)
    np.savez(tmp_path / "b.npz", images=images[::-1], labels=labels[::-1])
    first, other = (open_dataset(f"npz:{tmp_path / name}.npz") for name in "ab")
    assert part_of_each(first) == part_of_each(other)
    assert first.test.class_counts() == [10, 10]


@pytest.mark.parametrize("seed", range(20))
def test_no_class_loses_its_last_training_image(seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(15), random.integers(0, 15, random.integers(5, 90))])
    held = held_out(len(labels), ("test", "validation"))
    order = by_content(labels, np.array([random.bytes(16) for _ in labels], "S16"), held)
    training = len(labels) - sum(held.values())
    assert sorted(order) == list(range(len(labels)))
    assert set(labels[order[:training]]) == set(range(15))


def test_too_few_images_to_hold_any_out_are_counted(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match="has 3 images of 2 classes for training, too few to hold 2 out"
    ):
        open_dataset(f"folder:{write_folder(tmp_path, {'a': 2, 'b': 1})}")


def test_ranges_cover_all_images_once() -> None:
    ranges = part_ranges({"train": 57})
    assert sorted(i for _, where in ranges.values() for i in range(57)[where]) == list(range(57))


def check_hashes(names: tuple[str, ...]) -> None:
    for name in names:
        assert {part: data.sha256()[:16] for part, data in open_dataset(name).items()} == PUBLISHED[
            name
        ]


def test_the_embedded_sets_keep_their_parts() -> None:
    check_hashes(("digits", "bg-digits"))


@pytest.mark.skipif(
    not {"CONDGEN_DATA", "CI"} & set(os.environ),
    reason="CONDGEN_DATA names no folder with the real data",
)
def test_the_sets_of_the_paper_keep_their_parts() -> None:
    check_hashes(("mnist", "cifar10", "bg-mnist-0", "bg-mnist-1", "bg-mnist-5"))


def test_a_set_of_the_paper_in_small_is_split_by_position(tmp_path: Path) -> None:
    contents = [encoded(image) for image in pictures(100)]
    (tmp_path / "mnist").mkdir()
    for part in ("train", "test"):
        (tmp_path / "mnist" / f"{part}.parquet").write_bytes(parquet_bytes(contents, [0, 1] * 50))
    validation = open_dataset("mnist", data_dir=tmp_path).validation
    shown = [image[0, 13:19, 13:19].tobytes() for image in validation.images]
    assert [[p.tobytes() for p in pictures(100)].index(image) for image in shown] == [
        77,
        27,
        40,
        5,
        87,
        43,
        52,
        7,
        37,
        29,
    ]
