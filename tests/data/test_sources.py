"""All image sources: reading, splitting, and error messages."""

import json
import multiprocessing
import os
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from condgen.data import arrays, cache, images
from condgen.data.building import build_splits
from condgen.data.catalogue import open_dataset
from condgen.data.images import Encoded, Geometry, decode
from condgen.errors import DataError
from tests.data.files import encoded, parquet_bytes, pictures, write_folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("CONDGEN_CACHE", str(path))
    return path


def write_parquet(path: Path, number: int = 40, **keys: object) -> str:
    path.write_bytes(
        parquet_bytes(
            [encoded(p) for p in pictures(number)], [i % 2 for i in range(number)], **keys
        )
    )
    return f"parquet:{path}"


def write_npz(path: Path, **arrays: object) -> str:
    np.savez(path, **arrays)
    return f"npz:{path}"


def all_images(splits) -> set[bytes]:
    return {image.tobytes() for _, part in splits.items() for image in part.images}


def test_parquet_with_and_without_metadata(tmp_path: Path) -> None:
    known = open_dataset(write_parquet(tmp_path / "a.parquet", image="img", label="fine"))
    bare = open_dataset(write_parquet(tmp_path / "b.parquet", metadata=False))
    plain = pa.table({"png": [encoded(p) for p in pictures(40)], "y": [i % 2 for i in range(40)]})
    pq.write_table(plain, tmp_path / "c.parquet")
    assert known.train.class_names == ("cat", "dog")
    assert bare.train.class_names == ("0", "1")
    assert all_images(known) == all_images(bare) == {p.tobytes() for p in pictures(40)}
    assert all_images(open_dataset(f"parquet:{tmp_path / 'c.parquet'}")) == all_images(bare)


def test_a_folder_of_parquet_files_is_split_by_their_names(tmp_path: Path) -> None:
    for split, number in (("train", 20), ("valid", 6), ("test", 8)):
        write_parquet(tmp_path / f"{split}-00000-of-00001.parquet", number)
    assert [len(part) for _, part in open_dataset(f"parquet:{tmp_path}").items()] == [20, 6, 8]


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_a_folder_with_a_sub_folder_per_class(tmp_path: Path, format: str) -> None:
    splits = open_dataset(
        f"folder:{write_folder(tmp_path / 'pets', {'cat': 30, 'dog': 20}, (8, 8, 3), format)}"
    )
    assert splits.train.class_names == ("cat", "dog")
    assert splits.train.event_shape == (3, 8, 8)
    assert [len(part) for _, part in splits.items()] == [41, 4, 5]


def test_a_folder_with_its_own_train_and_test(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", {"cat": 30, "dog": 20})
    write_folder(tmp_path / "test", {"cat": 3, "dog": 2})
    splits = open_dataset(f"folder:{tmp_path}")
    assert [len(part) for _, part in splits.items()] == [45, 5, 5]


def test_images_are_resized_and_cropped_to_the_size_asked_for(tmp_path: Path) -> None:
    pixels = np.zeros((8, 16), np.uint8)
    pixels[:, 4:12] = 200
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(10):
            (tmp_path / name / f"{i}.png").write_bytes(encoded(pixels))
    splits = open_dataset(f"folder:{tmp_path}", size=4)
    assert splits.train.event_shape == (1, 4, 4)
    assert splits.train.images[0, 0, 2, 1:3].min() == 200


def test_gray_and_color_together_become_color(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 10})
    write_folder(tmp_path / "more", {"b": 10}, (6, 6, 3))
    (tmp_path / "more" / "b").rename(tmp_path / "b")
    (tmp_path / "more").rmdir()
    assert open_dataset(f"folder:{tmp_path}").train.event_shape == (3, 6, 6)


@pytest.mark.parametrize(
    "names",
    [("images", "labels"), ("x_train", "y_train"), ("train_images", "train_labels")],
    ids=str,
)
@pytest.mark.parametrize("shape", [(6, 6), (6, 6, 3), (3, 6, 6)], ids=str)
def test_npz_under_its_usual_names_and_layouts(
    tmp_path: Path, names: tuple[str, str], shape: tuple[int, ...]
) -> None:
    stored = np.stack(pictures(20, shape))
    splits = open_dataset(
        write_npz(tmp_path / "a.npz", **{names[0]: stored, names[1]: np.arange(20) % 2})
    )
    expected = (
        stored[:, None]
        if len(shape) == 2
        else stored
        if shape[0] == 3
        else np.moveaxis(stored, 3, 1)
    )
    assert all_images(splits) == {image.tobytes() for image in np.ascontiguousarray(expected)}


def test_a_set_over_another(tmp_path: Path) -> None:
    front = np.stack(pictures(40, seed=1)) * (np.random.default_rng(0).random((40, 6, 6)) < 0.5)
    back = np.stack(pictures(40, (6, 6, 3), seed=2))
    labels = np.arange(40) % 2
    front_name = write_npz(tmp_path / "front.npz", images=front.astype(np.uint8), labels=labels)
    back_name = write_npz(tmp_path / "back.npz", images=back, labels=labels)
    plain, composed = open_dataset(front_name), open_dataset(f"bg:{front_name}/{back_name}/0")
    blurred = open_dataset(f"bg:{front_name}/{back_name}/2")
    for (_, digit), (_, sharp), (_, soft) in zip(
        plain.items(), composed.items(), blurred.items(), strict=True
    ):
        ink = digit.images > 0
        assert np.array_equal(sharp.images[ink], digit.images[ink])
        assert np.array_equal(soft.images[ink], digit.images[ink])
        assert np.array_equal(sharp.labels, digit.labels)
        assert sharp.images[~ink].std() > 1.5 * soft.images[~ink].std() > 0


def test_backgrounds_of_test_and_train_are_apart(tmp_path: Path) -> None:
    """With black foregrounds, the complete backgrounds are visible."""
    labels = np.arange(40) % 2
    front = write_npz(tmp_path / "front.npz", images=np.zeros((40, 6, 6), np.uint8), labels=labels)
    back = write_npz(tmp_path / "back.npz", images=np.stack(pictures(40)), labels=labels)
    seen = [
        {image.tobytes() for image in part.images}
        for _, part in open_dataset(f"bg:{front}/{back}/0").items()
    ]
    assert not seen[0] & seen[1]
    assert not seen[0] & seen[2]
    assert not seen[1] & seen[2]


def test_no_test_image_leaks(tmp_path: Path) -> None:
    (tmp_path / "train.parquet").write_bytes(
        parquet_bytes([encoded(p) for p in pictures(60)], [i % 2 for i in range(60)])
    )
    (tmp_path / "test.parquet").write_bytes(
        parquet_bytes([encoded(p) for p in pictures(20, seed=1)], [i % 2 for i in range(20)])
    )
    splits = open_dataset(f"parquet:{tmp_path}")
    train, validation, test = (
        {image.tobytes() for image in part.images} for _, part in splits.items()
    )
    assert train | validation == {p.tobytes() for p in pictures(60)}
    assert not train & validation
    assert test == {p.tobytes() for p in pictures(20, seed=1)}
    assert not test & (train | validation)


def test_the_split_depends_on_the_seed_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = write_parquet(tmp_path / "a.parquet")
    first = open_dataset(name).validation.images
    monkeypatch.setenv("CONDGEN_CACHE", str(tmp_path / "another"))
    assert np.array_equal(open_dataset(name).validation.images, first)
    assert not np.array_equal(open_dataset(name, seed=1).validation.images, first)


def test_a_damaged_cache_is_rebuilt(tmp_path: Path, own_cache: Path) -> None:
    name = write_parquet(tmp_path / "a.parquet")
    expected = all_images(open_dataset(name))
    (stored,) = own_cache.glob("*/images.npy")
    content = bytearray(stored.read_bytes())
    content[-1] ^= 1
    stored.write_bytes(content)
    assert all_images(open_dataset(name)) == expected


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    name = write_parquet(tmp_path / "a.parquet")
    open_dataset(name)
    write_parquet(tmp_path / "a.parquet", number=44)
    assert len(all_images(open_dataset(name))) == 44


def _open_in_another_process(name: str, answers) -> None:
    answers.put(len(all_images(open_dataset(name))))


def test_two_processes_decode_at_once(tmp_path: Path, own_cache: Path) -> None:
    name = write_parquet(tmp_path / "a.parquet", 2000)
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    processes = [
        context.Process(target=_open_in_another_process, args=(name, answers)) for _ in range(2)
    ]
    for process in processes:
        process.start()
    assert [answers.get(timeout=120) for _ in processes] == [2000, 2000]
    for process in processes:
        process.join()
    assert len(list(own_cache.glob("*/images.npy"))) == 1


def png_that_claims(width: int, height: int) -> bytes:
    content = bytearray(encoded(np.zeros((1, 1), np.uint8)))
    content[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    return bytes(content)


def palette() -> bytes:
    import io

    buffer = io.BytesIO()
    Image.fromarray(pictures(1)[0]).convert("P").save(buffer, "PNG")
    return buffer.getvalue()


def animated() -> bytes:
    import io

    buffer = io.BytesIO()
    frames = [Image.fromarray(p) for p in pictures(2)]
    frames[0].save(buffer, "PNG", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


BAD_IMAGES = {
    "truncated": (encoded(pictures(1, (64, 64))[0])[:200], "not a readable image"),
    "no image": (b"hello", "not a readable image"),
    "empty": (b"", "not a readable image"),
    "claims to be large": (png_that_claims(9000, 9000), "9000x9000 pixels, more than"),
    "claims to be huge": (png_that_claims(60000, 60000), "exceeds limit"),
    "16 bit": (encoded(np.zeros((4, 4), np.uint16)), "not 8-bit gray or RGB"),
    "transparent": (encoded(np.zeros((4, 4, 4), np.uint8)), "transparent pixels"),
    "animated": (animated(), r"animated \(2 frames\)"),
    "another format": (encoded(np.zeros((4, 4), np.uint8), "GIF"), "not a readable image"),
}


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_an_image_that_cannot_be_used_is_named(tmp_path: Path, name: str, own_cache: Path) -> None:
    content, message = BAD_IMAGES[name]
    good = [encoded(p) for p in pictures(5)]
    (tmp_path / "a.parquet").write_bytes(
        parquet_bytes([*good[:3], content, *good[3:]], [0, 1, 0, 1, 0, 1])
    )
    with pytest.raises(DataError, match=rf"a\.parquet row 3 .*{message}"):
        open_dataset(f"parquet:{tmp_path / 'a.parquet'}")
    assert not list(own_cache.rglob("*.npy"))


def test_palette_images_are_converted_and_said(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(parquet_bytes([palette()] * 20, [0, 1] * 10))
    splits = open_dataset(f"parquet:{tmp_path / 'a.parquet'}")
    assert splits.train.event_shape == (3, 6, 6)
    assert "20 train images of mode P were converted" in splits.notes


def bad_sets(root: Path) -> dict[str, tuple[str, str]]:
    """Invalid data sets: their names and the expected error messages."""
    two = [encoded(p) for p in pictures(2)]
    (root / "one-class.parquet").write_bytes(parquet_bytes(two * 10, [0] * 20))
    (root / "null-image.parquet").write_bytes(parquet_bytes([two[0], None], [0, 1]))
    (root / "null-label.parquet").write_bytes(parquet_bytes(two, [0, None]))
    (root / "negative.parquet").write_bytes(parquet_bytes(two, [0, -1]))
    (root / "beyond.parquet").write_bytes(parquet_bytes(two * 10, [0, 5] * 10))
    (root / "truncated.parquet").write_bytes(parquet_bytes(two, [0, 1])[:-50])
    (root / "text.parquet").write_bytes(b"hello")
    (root / "empty.parquet").write_bytes(parquet_bytes([], []))
    (root / "no-split").mkdir()
    write_parquet(root / "no-split" / "test.parquet")
    write_folder(root / "empty-class", {"cat": 3, "dog": 0})
    write_folder(root / "one-folder", {"cat": 3})
    mixed = write_folder(root / "mixed", {"a": 12, "b": 8})
    for file in sorted((mixed / "b").iterdir())[:5]:
        file.write_bytes(encoded(np.zeros((8, 8), np.uint8)))
    write_folder(root / "other-classes" / "train", {"cat": 3, "dog": 3})
    write_folder(root / "other-classes" / "test", {"cat": 3, "cow": 3})
    (root / "text.npz").write_bytes(b"hello")
    numbers = pa.table({"image": two, "fine": [0, 1], "coarse": [0, 1]})
    pq.write_table(numbers, root / "two-labels.parquet")
    words = pa.table({"image": two, "label": ["cat", "dog"]})
    features = {
        "image": {"_type": "Image"},
        "label": {"_type": "ClassLabel", "names": ["cat", "dog"]},
    }
    about = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(words.replace_schema_metadata(about), root / "words.parquet")
    for configuration in ("fine", "coarse"):
        (root / "several" / configuration).mkdir(parents=True)
        write_parquet(root / "several" / configuration / "train.parquet")
    x, y = np.stack(pictures(10)), np.arange(10) % 2
    return {
        "one class only": (
            f"parquet:{root}/one-class.parquet",
            "all 17 training images are of one class",
        ),
        "missing image": (f"parquet:{root}/null-image.parquet", "row 1 has no image bytes"),
        "missing label": (f"parquet:{root}/null-label.parquet", "row 1 has label None"),
        "negative label": (f"parquet:{root}/negative.parquet", "row 1 has label -1"),
        "label without a class": (f"parquet:{root}/beyond.parquet", "labels run from 0 to 5"),
        "truncated parquet": (f"parquet:{root}/truncated.parquet", "not a readable parquet file"),
        "no parquet": (f"parquet:{root}/text.parquet", "not a readable parquet file"),
        "no rows": (f"parquet:{root}/empty.parquet", "holds no image"),
        "no training part": (f"parquet:{root}/no-split", "has no training file"),
        "two label columns": (
            f"parquet:{root}/two-labels.parquet",
            r"class-label columns \['fine', 'coarse'\] among "
            r"image \(binary\), fine \(int64\), coarse \(int64\); expected one",
        ),
        "words for labels": (
            f"parquet:{root}/words.parquet",
            "column 'label' holds string, expected integers",
        ),
        "several configurations": (
            f"parquet:{root}/several",
            r"several configurations \(coarse, fine\); download one",
        ),
        "file for a folder": (f"folder:{root}/text.npz", "text.npz is a file, expected a folder"),
        "far label": (
            write_npz(root / "i.npz", images=x, labels=y * 5000),
            "label 5000 without class names",
        ),
        "parts of two sizes": (
            write_npz(root / "j.npz", x_train=x, y_train=y, x_test=x[:, :4], y_test=y),
            "the splits differ in shape .*resize arrays before saving",
        ),
        "empty class folder": (f"folder:{root}/empty-class", "empty-class/dog holds no PNG"),
        "one class folder": (f"folder:{root}/one-folder", "has 1 class folders"),
        "different sizes": (
            f"folder:{root}/mixed",
            r"images of 6x6 \(15\) and 8x8 \(5\); set data.size=32",
        ),
        "other classes in test": (
            f"folder:{root}/other-classes",
            "does not have the same class folders.*cow, dog",
        ),
        "nothing there": (f"folder:{root}/nowhere", "does not exist"),
        "no npz": (f"npz:{root}/text.npz", "not a readable .npz file"),
        "npz without labels": (write_npz(root / "a.npz", images=x), "has images but no labels"),
        "npz of other names": (
            write_npz(root / "g.npz", pictures=x, labels=y),
            "expected images and labels",
        ),
        "npz with two trainings": (
            write_npz(root / "h.npz", images=x, labels=y, train_images=x[:5], train_labels=y[:5]),
            "has train_images and images for the part 'train'",
        ),
        "npz of floats": (
            write_npz(root / "b.npz", images=x / 255, labels=y),
            "float64, expected uint8",
        ),
        "npz of odd shape": (
            write_npz(root / "c.npz", images=x[0], labels=y),
            r"has shape \(6, 6\)",
        ),
        "npz with float labels": (
            write_npz(root / "d.npz", images=x, labels=y / 2),
            "expected a vector of integers",
        ),
        "npz of other length": (
            write_npz(root / "e.npz", images=x, labels=y[:5]),
            "10 images but 5 labels",
        ),
        "npz with objects": (
            write_npz(root / "f.npz", images=np.array([None, 1]), labels=y),
            "not a readable .npz file",
        ),
        "background of another size": ("bg:digits/bg-digits/x", "not of the form bg:FOREGROUND"),
        "negative blur": ("bg:digits/bg-digits/-1", "not of the form bg:FOREGROUND"),
        "no background": ("bg:digits", "not of the form bg:FOREGROUND"),
        "unknown prefix": ("file:x", "is not known"),
        "mistyped": ("minst", "did you mean 'mnist'"),
    }


NAMES_OF_BAD_SETS = [
    "one class only", "missing image", "missing label", "negative label", "label without a class",
    "truncated parquet", "two label columns", "words for labels", "several configurations",
    "file for a folder", "far label", "parts of two sizes", "no parquet", "no rows",
    "no training part", "empty class folder", "one class folder", "different sizes",
    "other classes in test", "nothing there", "no npz", "npz without labels", "npz of other names",
    "npz with two trainings", "npz of floats", "npz of odd shape",
    "npz with float labels", "npz of other length", "npz with objects",
    "background of another size", "negative blur", "no background", "unknown prefix", "mistyped",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES_OF_BAD_SETS)
def test_what_cannot_be_opened_says_why(tmp_path: Path, name: str, own_cache: Path) -> None:
    dataset, message = bad_sets(tmp_path)[name]
    with pytest.raises(DataError, match=message):
        open_dataset(dataset)
    assert not [path for path in own_cache.rglob(".*") if path.is_dir()]


def test_an_archive_that_unpacks_to_more_than_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "MOST_BYTES", 100)
    with pytest.raises(DataError, match=r"unpacks to [0-9]+ bytes, more than 100; split it"):
        open_dataset(
            write_npz(tmp_path / "a.npz", images=np.stack(pictures(10)), labels=np.arange(10) % 2)
        )


def test_metadata_that_is_damaged_costs_the_names_alone(tmp_path: Path) -> None:
    for written in (b"no json", b"[]", b'{"info": {"features": 3}}'):
        table = pa.table(
            {"image": [encoded(p) for p in pictures(20)], "label": [i % 2 for i in range(20)]}
        )
        pq.write_table(
            table.replace_schema_metadata({"huggingface": written}), tmp_path / "a.parquet"
        )
        assert open_dataset(f"parquet:{tmp_path}/a.parquet").train.class_names == ("0", "1")


def test_an_image_larger_than_its_frame_is_named(tmp_path: Path) -> None:
    large = [encoded(p) for p in pictures(20, (40, 40))]
    for split in ("train", "test"):
        (tmp_path / "mnist").mkdir(exist_ok=True)
        (tmp_path / "mnist" / f"{split}.parquet").write_bytes(parquet_bytes(large, [0, 1] * 10))
    with pytest.raises(DataError, match=r"parquet row 0 .*40x40 pixels do not fit into 32x32"):
        open_dataset("mnist", data_dir=tmp_path)


def test_a_strip_is_not_resized_to_more_pixels_than_an_image_may_have(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(
        parquet_bytes([encoded(np.zeros((1, 9000), np.uint8))] * 2, [0, 1])
    )
    with pytest.raises(
        DataError, match=r"row 0 .*resizing to 9216000x1024 pixels is out of bounds"
    ):
        open_dataset(f"parquet:{tmp_path}/a.parquet", size=1024)


def test_every_bad_set_is_tried(tmp_path: Path) -> None:
    assert set(bad_sets(tmp_path)) == set(NAMES_OF_BAD_SETS)


def test_backgrounds_of_another_size_are_refused(tmp_path: Path) -> None:
    labels = np.arange(20) % 2
    front = write_npz(tmp_path / "front.npz", images=np.stack(pictures(20)), labels=labels)
    back = write_npz(tmp_path / "back.npz", images=np.stack(pictures(20, (8, 8))), labels=labels)
    with pytest.raises(
        DataError,
        match=r"foreground has \(6, 6\) pixels, the background \(8, 8\); "
        r"both have a fixed size",
    ):
        open_dataset(f"bg:{front}/{back}/0")
    with pytest.raises(DataError, match="both have a fixed size; leave out the size, now 6"):
        open_dataset(f"bg:{front}/{back}/0", size=6)


def test_files_take_the_size_of_the_arrays_they_are_composed_with(tmp_path: Path) -> None:
    front = write_npz(
        tmp_path / "front.npz", images=np.stack(pictures(20)), labels=np.arange(20) % 2
    )
    behind = f"folder:{write_folder(tmp_path / 'behind', {'a': 10, 'b': 10}, (8, 8, 3))}"
    with pytest.raises(
        DataError,
        match=r"\(6, 6\) pixels, the background \(8, 8\); set data.size=6 for both ",
    ):
        open_dataset(f"bg:{front}/{behind}/0")
    assert open_dataset(f"bg:{front}/{behind}/0", size=6).train.event_shape == (1, 6, 6)
    oblong = write_npz(
        tmp_path / "oblong.npz", images=np.stack(pictures(20))[:, :4], labels=np.arange(20) % 2
    )
    with pytest.raises(DataError, match="resized to squares; crop those of 4x6 beforehand"):
        open_dataset(f"bg:{oblong}/{behind}/0")


def test_a_data_folder_without_the_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no folder 'mnist'"):
        open_dataset("mnist", data_dir=tmp_path)


def test_a_cache_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CONDGEN_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(DataError, match="set CONDGEN_CACHE"):
        open_dataset(write_parquet(tmp_path / "a.parquet"))


def damaged(content: bytes, cuts: list[tuple[int, int]], stop: int) -> bytes:
    changed = bytearray(content)
    for position, byte in cuts:
        changed[position % len(changed)] = byte
    return bytes(changed[: max(1, stop % (len(changed) + 1))])


DAMAGE = st.tuples(
    st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), max_size=8),
    st.integers(0, 1 << 20),
)
OFTEN = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@OFTEN
@given(damage=DAMAGE, format=st.sampled_from(["PNG", "JPEG", "WEBP"]))
def test_damaged_images_give_an_image_or_a_clean_error(damage, format: str) -> None:
    content = damaged(encoded(pictures(1, (8, 8, 3))[0], format), *damage)
    try:
        pixels, _ = decode(Encoded(content, 0, "here"), Geometry())
    except DataError as error:
        assert "here" in str(error)
    else:
        assert pixels.dtype == np.uint8
        assert pixels.shape[1] * pixels.shape[2] <= images.MOST_PIXELS


PARQUET = parquet_bytes([encoded(p) for p in pictures(6)], [0, 1] * 3)
NPZ_ARRAYS = {"images": np.stack(pictures(6)), "labels": np.arange(6) % 2}


@OFTEN
@given(damage=DAMAGE)
def test_damaged_parquet_gives_data_or_a_clean_error(damage, tmp_path: Path) -> None:
    path = tmp_path / "damaged.parquet"
    path.write_bytes(damaged(PARQUET, *damage))
    try:
        open_dataset(f"parquet:{path}")
    except DataError as error:
        assert "damaged.parquet" in str(error)


@OFTEN
@given(damage=DAMAGE)
def test_damaged_npz_gives_data_or_a_clean_error(damage, tmp_path: Path) -> None:
    path = tmp_path / "damaged.npz"
    np.savez(path, **NPZ_ARRAYS)
    path.write_bytes(damaged(path.read_bytes(), *damage))
    try:
        open_dataset(f"npz:{path}")
    except DataError as error:
        assert "damaged.npz" in str(error)


@pytest.mark.skipif(
    not {"CONDGEN_DATA", "CI"} & set(os.environ),
    reason="CONDGEN_DATA names no folder with the real data",
)
def test_the_real_sets_have_the_known_means_and_sizes(tmp_path: Path) -> None:
    mnist, cifar = open_dataset("mnist"), open_dataset("cifar10")
    assert [len(part) for _, part in mnist.items()] == [55000, 5000, 10000]
    assert [len(part) for _, part in cifar.items()] == [45000, 5000, 10000]
    padded = sum(part.images.sum(dtype=np.int64) for part in (mnist.train, mnist.validation)) / (
        60000 * 28 * 28 * 255
    )
    assert padded == pytest.approx(0.13066, abs=1e-5)
    colors = sum(
        part.images.sum((0, 2, 3), dtype=np.int64) for part in (cifar.train, cifar.validation)
    ) / (50000 * 1024 * 255)
    assert colors == pytest.approx([0.49140, 0.48216, 0.44653], abs=1e-5)
    composed = open_dataset("bg-mnist-1")
    ink = mnist.test.images > 0
    assert np.array_equal(composed.test.images[ink], mnist.test.images[ink])
    assert cache.cache_directory().is_dir()


def test_a_photograph_taken_sideways_is_turned_upright() -> None:
    pixels = np.zeros((4, 8), np.uint8)
    pixels[:, :4] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise
    upright, _ = decode(Encoded(encoded(pixels, "PNG", exif=exif), 0, "here"), Geometry())
    assert upright.shape == (1, 8, 4)
    assert (upright[0, :4] == 255).all()
    assert (upright[0, 4:] == 0).all()


def test_unnamed_classes_and_parts_without_images_are_refused(tmp_path: Path) -> None:
    images, labels = np.zeros((40, 6, 6), np.uint8), np.arange(40) % 4 * 5
    with pytest.raises(
        DataError, match="of the classes 0 to 15, 12 have no training image, the first is 1"
    ):
        open_dataset(write_npz(tmp_path / "gaps.npz", images=images, labels=labels))
    empty = {"x_val": images[:0], "y_val": labels[:0]}
    with pytest.raises(DataError, match="the validation part has no images"):
        open_dataset(
            write_npz(tmp_path / "empty.npz", x_train=images, y_train=labels // 5, **empty)
        )


def test_a_class_with_images_but_none_for_training_is_refused() -> None:
    labels = {"train": [0, 1], "validation": [0, 1], "test": [1, 2]}
    parts = {
        part: (np.zeros((2, 1, 4, 4), np.uint8), np.array(held)) for part, held in labels.items()
    }
    with pytest.raises(DataError, match="class 'rare' has images, but none for training"):
        build_splits("scans", parts, ("cat", "dog", "rare", "never seen"), "", "", ())
