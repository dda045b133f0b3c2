"""Parquet files: class numbering, file names of parts, and files that unpack to large data."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from condgen.data.catalogue import open_dataset
from condgen.data.dataset import ImageDataset, Splits
from condgen.errors import DataError
from tests.data.files import encoded, parquet_bytes, pictures

SHADES = {"cat": 0, "dog": 120, "fox": 255}


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONDGEN_CACHE", str(tmp_path_factory.mktemp("cache")))


def write(
    path: Path,
    names: tuple[str, ...],
    animals: tuple[str, ...] = ("cat", "dog"),
    metadata: bool = True,
) -> None:
    """Write images whose gray level depends on the animal."""
    shown = animals * 20
    contents = [encoded(np.full((4, 4), SHADES.get(animal, 77), np.uint8)) for animal in shown]
    path.write_bytes(
        parquet_bytes(contents, [names.index(animal) for animal in shown], names, metadata=metadata)
    )


def shades(splits: Splits) -> list[dict[str, set[int]]]:
    return [
        {
            name: set(np.unique(part.images[part.labels == y]).tolist())
            for y, name in enumerate(part.class_names)
        }
        for _, part in splits.items()
    ]


def test_parts_that_number_their_classes_differently_mean_the_same(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", ("cat", "dog"))
    write(tmp_path / "test.parquet", ("dog", "cat"))
    for part in shades(open_dataset(f"parquet:{tmp_path}")):
        assert part["cat"] <= {0}
        assert part["dog"] <= {120}


def test_files_of_one_part_that_number_their_classes_differently_mean_the_same(
    tmp_path: Path,
) -> None:
    write(tmp_path / "train-0.parquet", ("cat", "dog"))
    write(tmp_path / "train-1.parquet", ("fox", "dog", "cat"), ("cat", "dog", "fox"))
    splits = open_dataset(f"parquet:{tmp_path}")
    assert splits.train.class_names == ("cat", "dog", "fox")
    assert shades(splits)[0] == {"cat": {0}, "dog": {120}, "fox": {255}}


def test_a_part_with_some_of_the_classes_keeps_their_numbers(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", ("cat", "dog", "fox"), ("cat", "dog", "fox"))
    write(tmp_path / "test.parquet", ("dog", "fox"), ("dog", "fox"))
    assert shades(open_dataset(f"parquet:{tmp_path}"))[2] == {
        "cat": set(),
        "dog": {120},
        "fox": {255},
    }


def test_a_class_that_training_does_not_name_is_refused_where_it_occurs(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", ("cat", "dog"))
    write(tmp_path / "test.parquet", ("cow", "dog", "cat"))
    assert open_dataset(f"parquet:{tmp_path}").train.class_names == ("cat", "dog")
    write(tmp_path / "test.parquet", ("cow", "dog", "cat"), ("dog", "cow"))
    with pytest.raises(
        DataError,
        match=r"test\.parquet row 1 is of class 'cow', which the training files do not name",
    ):
        open_dataset(f"parquet:{tmp_path}")


def test_another_order_of_the_training_classes_is_not_taken_from_the_cache(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", ("cat", "dog"))
    write(tmp_path / "test.parquet", ("dog", "cat"))
    open_dataset(f"parquet:{tmp_path}")
    write(tmp_path / "train.parquet", ("dog", "cat"))
    assert shades(open_dataset(f"parquet:{tmp_path}"))[2] == {"dog": {120}, "cat": {0}}


def test_files_without_class_names_are_noted(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", ("cat", "dog"))
    write(tmp_path / "test.parquet", ("cat", "dog"), metadata=False)
    notes = open_dataset(f"parquet:{tmp_path}").notes
    assert (
        "test: files without class names were assumed to number the classes as the others do:"
        " test.parquet" in notes
    )


def test_two_classes_of_one_name_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", ("cat", "dog", "cat"))
    with pytest.raises(DataError, match="two classes of the name 'cat'"):
        open_dataset(f"parquet:{tmp_path}/a.parquet")


@pytest.mark.parametrize(
    ("train", "test"), [("train2", "Eval"), ("training", "testing"), ("my train", "evaluation_1")]
)
def test_file_names_tell_their_part_in_many_ways(tmp_path: Path, train: str, test: str) -> None:
    write(tmp_path / f"{train}.parquet", ("cat", "dog"))
    write(tmp_path / f"{test}.parquet", ("cat", "dog", "fox"), ("cat", "dog", "cat"))
    assert [len(part) for _, part in open_dataset(f"parquet:{tmp_path}").items()] == [36, 4, 60]


def test_files_that_tell_no_part_are_noted(tmp_path: Path) -> None:
    for name in ("train", "extra", "train-test"):
        write(tmp_path / f"{name}.parquet", ("cat", "dog"))
    notes = open_dataset(f"parquet:{tmp_path}").notes
    assert (
        "files were left out, as their names contain no part: extra.parquet, train-test.parquet"
        in notes
    )


def test_linked_folders_of_files_are_read(tmp_path: Path) -> None:
    for part in ("train", "test"):
        (tmp_path / "elsewhere" / part).mkdir(parents=True)
        write(tmp_path / "elsewhere" / part / "0.parquet", ("cat", "dog"))
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "linked").symlink_to(tmp_path / "elsewhere")
    assert [len(part) for _, part in open_dataset(f"parquet:{tmp_path / 'set'}").items()] == [
        36,
        4,
        40,
    ]


@pytest.mark.parametrize("label", [2**64 - 1, 2**63, 2**40])
def test_labels_beyond_all_classes_are_refused(tmp_path: Path, label: int) -> None:
    labels = pa.array([0, 1, label], pa.uint64())
    pq.write_table(
        pa.table({"png": [encoded(p) for p in pictures(3)], "y": labels}), tmp_path / "a.parquet"
    )
    with pytest.raises(
        DataError, match=f"labels run from 0 to {label}|label {label} without class names"
    ):
        open_dataset(f"parquet:{tmp_path}/a.parquet")
    np.savez(
        tmp_path / "a.npz", images=np.stack(pictures(3)), labels=np.array([0, 1, label], np.uint64)
    )
    with pytest.raises(DataError, match=f"runs from 0 to {label}"):
        open_dataset(f"npz:{tmp_path}/a.npz")
    with pytest.raises(DataError, match=f"label {label} without class names"):
        ImageDataset(np.zeros((3, 1, 2, 2), np.uint8), np.array([0, 1, label], np.uint64))


READ = """
import resource, sys
from pathlib import Path
from condgen.data.tables import ParquetTable
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
rows = sum(len(chunk) for chunk in ParquetTable((Path(sys.argv[1]),)).chunks())
print(rows, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_a_small_file_that_repeats_a_large_image_takes_bounded_memory(tmp_path: Path) -> None:
    """All rows together would take 2.5 GB."""
    content = encoded(pictures(1)[0]) + bytes(5_000_000)
    schema = pa.schema([("image", pa.struct([("bytes", pa.binary())])), ("label", pa.int64())])
    with pq.ParquetWriter(tmp_path / "a.parquet", schema, compression="zstd") as writer:
        images = pa.StructArray.from_arrays(
            [pa.array([content] * 100, pa.binary())], names=["bytes"]
        )
        for _ in range(5):
            writer.write_batch(pa.record_batch({"image": images, "label": pa.array([0, 1] * 50)}))
    assert (tmp_path / "a.parquet").stat().st_size < 100_000
    command = [sys.executable, "-c", READ, str(tmp_path / "a.parquet")]
    rows, megabytes = map(
        int, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    )
    assert rows == 500
    assert megabytes < 700


def test_a_process_that_was_forked_decodes(tmp_path: Path) -> None:
    for name, number in (("a", 400), ("b", 401)):
        contents = [encoded(p) for p in pictures(number)]
        (tmp_path / f"{name}.parquet").write_bytes(
            parquet_bytes(contents, [i % 2 for i in range(number)])
        )
    script = (
        "import os, signal, sys, warnings\n"
        "from condgen import open_dataset\n"
        "warnings.simplefilter('ignore')\n"
        "open_dataset(sys.argv[1])\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    signal.alarm(60)\n"
        "    parts = open_dataset(sys.argv[2]).items()\n"
        "    os._exit(0 if sum(len(part) for _, part in parts) == 401 else 1)\n"
        "sys.exit(os.waitpid(child, 0)[1])\n"
    )
    names = [f"parquet:{tmp_path / name}.parquet" for name in "ab"]
    assert (
        subprocess.run(
            [sys.executable, "-c", script, *names], env=os.environ, check=False
        ).returncode
        == 0
    )


def test_metadata_of_any_shape_costs_the_names_alone(tmp_path: Path) -> None:
    table = pa.table(
        {"image": [encoded(p) for p in pictures(20)], "label": [i % 2 for i in range(20)]}
    )
    for features in ({"label": 3}, {"label": {"names": "cat"}}, {"label": {"names": {"0": "cat"}}}):
        written = json.dumps({"info": {"features": features}})
        pq.write_table(
            table.replace_schema_metadata({"huggingface": written}), tmp_path / "a.parquet"
        )
        assert open_dataset(f"parquet:{tmp_path}/a.parquet").train.class_names == ("0", "1")
    pq.write_table(
        table.replace_schema_metadata({"huggingface": "[" * 100_000}), tmp_path / "a.parquet"
    )
    assert open_dataset(f"parquet:{tmp_path}/a.parquet").train.class_names == ("0", "1")
