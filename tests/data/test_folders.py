"""Image folders: classes, parts, and notes about skipped files."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from condgen.data import reading
from condgen.data.catalogue import located, open_dataset
from condgen.data.dataset import Splits
from condgen.errors import DataError
from tests.data.files import encoded, pictures, write_folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONDGEN_CACHE", str(tmp_path_factory.mktemp("cache")))


def counts(splits: Splits) -> list[list[int]]:
    return [part.class_counts() for _, part in splits.items()]


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("training", "testing"),
        ("Train", "Eval"),
        ("train", "evaluation"),
        ("train2", "test_images"),
        ("TRAINING", "Test"),
    ],
)
def test_folders_for_parts_under_their_usual_names(tmp_path: Path, train: str, test: str) -> None:
    for part in (train, test):
        write_folder(tmp_path / part, {"cat": 10, "dog": 10, "fox": 10})
    splits = open_dataset(f"folder:{tmp_path}")
    assert splits.train.class_names == ("cat", "dog", "fox")
    assert counts(splits)[2] == [10, 10, 10]


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train": 20, "plane": 20, "test": 20})
    assert open_dataset(f"folder:{tmp_path}").train.class_names == ("plane", "test", "train")


def test_parts_under_unknown_names_are_refused(tmp_path: Path) -> None:
    for part in ("learn", "holdout"):
        write_folder(tmp_path / part, {"cat": 5, "dog": 5})
    with pytest.raises(
        DataError,
        match=r"holdout, learn holds the folders cat, dog.*"
        r"name the parts train, validation and test",
    ):
        open_dataset(f"folder:{tmp_path}")


def test_parts_inside_classes_are_refused(tmp_path: Path) -> None:
    write_folder(tmp_path / "cat", {"train": 5, "test": 5})
    write_folder(tmp_path / "dog", {"train": 5, "test": 5, "more": 1})
    with pytest.raises(
        DataError,
        match=r"cat holds parts .* inside a class; "
        r"put the classes inside the parts, such as train/cat",
    ):
        open_dataset(f"folder:{tmp_path}")


def test_folders_inside_a_class_are_read(tmp_path: Path) -> None:
    write_folder(tmp_path / "cat", {"indoors": 10, "outdoors": 10})
    write_folder(tmp_path, {"dog": 20})
    assert sum(map(sum, counts(open_dataset(f"folder:{tmp_path}")))) == 40


def test_two_folders_for_one_part_are_refused(tmp_path: Path) -> None:
    for part in ("train", "val", "valid"):
        write_folder(tmp_path / part, {"cat": 5, "dog": 5})
    with pytest.raises(
        DataError, match="two folders for the part 'validation': val and valid; merge"
    ):
        open_dataset(f"folder:{tmp_path}")


@pytest.mark.parametrize("alone", ["train", "test"])
def test_one_part_beside_folders_with_images_is_refused(tmp_path: Path, alone: str) -> None:
    write_folder(tmp_path / alone, {"steam": 5, "diesel": 5})
    write_folder(tmp_path, {"plane": 5})
    with pytest.raises(
        DataError,
        match=rf"named as parts \({alone}\) and beside them folders with images \(plane\)",
    ):
        open_dataset(f"folder:{tmp_path}")


def test_a_part_with_images_beside_its_classes_is_refused(tmp_path: Path) -> None:
    for part in ("train", "test"):
        write_folder(tmp_path / part, {"cat": 5, "dog": 5})
    (tmp_path / "train" / "stray.png").write_bytes(encoded(pictures(1)[0]))
    with pytest.raises(
        DataError, match=r"train has images beside its folders \(cat, dog\): if it is a part, move"
    ):
        open_dataset(f"folder:{tmp_path}")


def test_folders_that_are_left_out_are_noted(tmp_path: Path) -> None:
    for part in ("train", "val", "extra"):
        write_folder(tmp_path / part, {"cat": 10, "dog": 10})
    write_folder(tmp_path, {"test": 7})
    splits = open_dataset(f"folder:{tmp_path}")
    assert "folder 'extra' was left out: its name is not that of a part (20 images)" in splits.notes
    assert "folder 'test' was left out: it has no class folders (7 images)" in splits.notes
    assert [sum(part) for part in counts(splits)] == [18, 20, 2]


def test_other_suffixes_are_read_or_counted(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 5, "b": 5})
    for name in ("a", "b"):
        for i, pixels in enumerate(pictures(30)):
            (tmp_path / name / f"{i}.jfif").write_bytes(encoded(pixels, "JPEG"))
            (tmp_path / name / f"{i}.BMP").write_bytes(encoded(pixels, "BMP"))
            (tmp_path / name / f"{i}.gif").write_bytes(encoded(pixels, "GIF"))
        (tmp_path / name / "words.txt").write_text("")
        (tmp_path / name / ".hidden").write_text("")
    (tmp_path / "beside.png").write_bytes(encoded(pictures(1)[0]))
    splits = open_dataset(f"folder:{tmp_path}")
    assert sum(map(sum, counts(splits))) == 130
    assert (
        "train: files were left out: 60 .gif, 2 .txt, 1 image files beside the class folders"
        in splits.notes
    )


def test_linked_folders_are_read_and_loops_end(tmp_path: Path) -> None:
    write_folder(tmp_path / "elsewhere", {"more": 20, "dogs": 20})
    write_folder(tmp_path / "set", {"cat": 20})
    (tmp_path / "set" / "cat" / "more").symlink_to(tmp_path / "elsewhere" / "more")
    (tmp_path / "set" / "cat" / "loop").symlink_to(tmp_path / "set" / "cat")
    (tmp_path / "set" / "dog").symlink_to(tmp_path / "elsewhere" / "dogs")
    splits = open_dataset(f"folder:{tmp_path / 'set'}")
    assert np.sum(counts(splits), 0).tolist() == [40, 20]


def test_pipes_devices_and_broken_links_are_left_out_and_noted(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 10, "b": 10})
    os.mkfifo(tmp_path / "a" / "pipe.png")
    (tmp_path / "a" / "endless.png").symlink_to("/dev/zero")
    (tmp_path / "a" / "broken.png").symlink_to(tmp_path / "nowhere")
    assert "train: files were left out: 3 not regular" in open_dataset(f"folder:{tmp_path}").notes


@pytest.mark.parametrize("kind", ["npz", "parquet"])
def test_a_pipe_for_a_file_is_refused(tmp_path: Path, kind: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="pipe is not a regular file"):
        open_dataset(f"{kind}:{tmp_path / 'pipe'}")


def test_a_file_too_large_for_an_image_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path, {"a": 10, "b": 10})
    monkeypatch.setattr(reading, "MOST_FILE_BYTES", 1000)
    with (tmp_path / "a" / "004.png").open("ab") as file:
        file.truncate(2000)
    with pytest.raises(DataError, match=r"a/004\.png has more than 1000 bytes"):
        open_dataset(f"folder:{tmp_path}")


def test_files_are_read_a_bounded_number_of_bytes_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "BYTES_AT_ONCE", 2500)
    path = tmp_path / "a"
    path.write_bytes(bytes(1000))
    chunks = list(reading.in_chunks(reading.read_image(path) for _ in range(5)))
    assert [len(chunk) for chunk in chunks] == [2, 2, 1]


def test_a_rare_class_stays_in_training(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 40, "b": 40, "c": 1})
    splits = open_dataset(f"folder:{tmp_path}")
    assert counts(splits) == [[33, 32, 1], [3, 4, 0], [4, 4, 0]]
    assert "no test image is of c" in splits.notes


@pytest.mark.parametrize("empty", [False, True])
def test_a_test_part_may_lack_a_class(tmp_path: Path, empty: bool) -> None:
    write_folder(tmp_path / "train", {"a": 10, "b": 10, "c": 10})
    write_folder(tmp_path / "test", {"a": 10, "b": 10, **({"c": 0} if empty else {})})
    splits = open_dataset(f"folder:{tmp_path}")
    assert counts(splits) == [[9, 9, 9], [1, 1, 1], [10, 10, 0]]
    assert splits.test.class_names == ("a", "b", "c")
    assert "no test image is of c" in splits.notes


@pytest.mark.parametrize("where", ["train", "test"])
def test_one_color_image_makes_all_parts_color(tmp_path: Path, where: str) -> None:
    for seed, part in enumerate(("train", "test")):
        write_folder(tmp_path / part, {f"{name}": 10 for name in "ab"})
        for i, pixels in enumerate(pictures(10, seed=seed + 5)):
            (tmp_path / part / "a" / f"{i:03d}.png").write_bytes(encoded(pixels))
    (tmp_path / where / "a" / "color.png").write_bytes(encoded(pictures(1, (6, 6, 3))[0]))
    splits = open_dataset(f"folder:{tmp_path}", size=6)
    assert {part.event_shape for _, part in splits.items()} == {(3, 6, 6)}
    for part in ("train", "test"):
        note = (
            f"20 {part} images are gray and were given three equal channels,"
            " each of which counts in bits/dim"
        )
        assert note in splits.notes


def test_gray_images_stored_in_color_are_noted(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        for i, pixels in enumerate(pictures(20, seed=ord(name))):
            (tmp_path / name / f"{i}.png").write_bytes(encoded(np.repeat(pixels[..., None], 3, -1)))
    notes = open_dataset(f"folder:{tmp_path}").notes
    assert any(
        note.startswith(
            "40 train images have three equal channels, each of which counts in bits/dim"
        )
        for note in notes
    )


def test_duplicates_between_parts_are_noted(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", {"a": 20, "b": 20})
    write_folder(tmp_path / "test", {"a": 20, "b": 20})
    for path in list((tmp_path / "test" / "b").iterdir())[3:]:
        path.unlink()
    (tmp_path / "test" / "b" / "new.png").write_bytes(encoded(pictures(1, seed=9)[0]))
    notes = open_dataset(f"folder:{tmp_path}").notes
    noted = [note.split()[:3] for note in notes if "images as well" in note]
    assert sum(int(number) for number, *_ in noted) == 23
    assert all(words == ["of", "24"] for _, *words in noted)


def test_what_was_resized_is_noted(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 20})
    write_folder(tmp_path, {"b": 10}, (4, 4))
    assert (
        "20 train images were resized and cropped to 4x4"
        in open_dataset(f"folder:{tmp_path}", size=4).notes
    )


def test_images_of_few_values_are_noted(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        for i, pixels in enumerate(pictures(20, seed=ord(name))):
            Image.fromarray(pixels > 127).save(tmp_path / name / f"{i}.png")
    notes = open_dataset(f"folder:{tmp_path}").notes
    assert "40 train images of mode 1 were converted" in notes
    assert "train images have 2 of 256 values" in notes


@pytest.mark.parametrize(
    "name", ["folder:~nosuchuser/x", "npz:~nosuchuser/x", "parquet:~nosuchuser", "folder:a\0b"]
)
def test_a_path_that_is_none_is_one_sentence(name: str) -> None:
    with pytest.raises(DataError, match="is not a path"):
        open_dataset(name)
    with pytest.raises(DataError, match="is not a path"):
        located(name)


def test_a_path_too_long_is_one_sentence() -> None:
    with pytest.raises(DataError, match="cannot be read"):
        open_dataset(f"folder:/{'a' * 5000}")


def test_file_names_need_not_be_utf_8_but_class_names_do(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 10, "b": 10})
    (tmp_path / "a" / "000.png").rename(tmp_path / "a" / os.fsdecode(b"\xff.png"))
    assert sum(map(sum, counts(open_dataset(f"folder:{tmp_path}")))) == 20
    (tmp_path / "b").rename(tmp_path / os.fsdecode(b"\xff"))
    with pytest.raises(DataError, match="has a name that is not UTF-8; rename it"):
        open_dataset(f"folder:{tmp_path}")
    with pytest.raises(DataError, match="in UTF-8"):
        open_dataset(f"folder:{tmp_path}/{os.fsdecode(bytes([255]))}")


def test_names_with_markup_are_read(tmp_path: Path) -> None:
    assert (
        open_dataset(
            f"folder:{write_folder(tmp_path / '[' / 'y]$', {'a': 10, 'b': 10})}"
        ).train.num_classes
        == 2
    )
