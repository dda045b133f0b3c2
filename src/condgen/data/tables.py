"""Encoded images in parquet files, in the Hugging Face Hub's schema or with plain columns."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from condgen.data.images import Encoded
from condgen.data.reading import (
    MOST_CLASSES,
    ROWS_AT_ONCE,
    check_regular,
    check_size,
    fingerprint,
    in_chunks,
)
from condgen.errors import DataError

# Of a column: a file of some kilobytes can repeat one large image a million times.
DECODED_BYTES_AT_ONCE = 1 << 26
READ_BYTES_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Columns:
    """The image column and the label column of a file, and the class names of its labels."""

    image: str
    label: str
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class ParquetTable:
    """Parquet files with an image column and a class-label column, found from the schema metadata.

    Files may number their classes differently: labels are assigned by class name, in the order in
    which the training files list the names.

    Args:
        paths: The files of one part, in order.
        training: The table of the training part, if this is another part.

    Raises:
        DataError: On reading, if a file is damaged or has no such columns. The message names the
            file, and the row if there is one.
    """

    paths: tuple[Path, ...]
    training: "ParquetTable | None" = None

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        if self.training is not None:
            return self.training.class_names
        return tuple(
            dict.fromkeys(
                name for columns in self._columns.values() for name in columns.class_names
            )
        )

    @property
    def notes(self) -> tuple[str, ...]:
        unnamed = [path.name for path, columns in self._columns.items() if not columns.class_names]
        if self.class_names and unnamed:
            return (
                "files without class names were assumed to number the classes as the others do:"
                f" {', '.join(unnamed)}",
            )
        if not self.class_names and len(unnamed) < len(self.paths):
            return ("class names were left out: the training files have none",)
        return ()

    def __len__(self) -> int:
        return sum(_opened(path).metadata.num_rows for path in self.paths)

    def fingerprint(self) -> str:
        """Fingerprint of the files and of the training files, which define the labels."""
        own = fingerprint(self.paths)
        return own if self.training is None else f"{own} {fingerprint(self.training.paths)}"

    def chunks(self) -> Iterator[list[Encoded]]:
        return in_chunks(image for path in self.paths for image in self._rows(path))

    @cached_property
    def _columns(self) -> dict[Path, Columns]:
        return {path: _columns_of(path) for path in self.paths}

    def _rows(self, path: Path) -> Iterator[Encoded]:
        columns, row = self._columns[path], 0
        numbers = self._numbers(path)
        try:
            with _opened(path) as file:
                at_once = _rows_at_once(file, columns.image)
                for batch in file.iter_batches(
                    at_once, columns=[columns.image, columns.label], use_threads=False
                ):
                    yield from _encoded(batch, columns, path, row, numbers)
                    row += batch.num_rows
        except DataError:
            raise
        except Exception as error:  # on damaged bytes the reader may raise anything
            raise DataError(
                f"{path} is damaged after row {row} ({_first_line(error)}); download it again."
            ) from error

    def _numbers(self, path: Path) -> list[int | None] | None:
        """The label of each class number in a file; None if the numbers are the labels."""
        names = self._columns[path].class_names
        if not names or not self.class_names:
            return None
        known = {name: label for label, name in enumerate(self.class_names)}
        return [known.get(name) for name in names]


def _opened(path: Path) -> pq.ParquetFile:
    check_regular(path)
    try:
        return pq.ParquetFile(path, buffer_size=READ_BYTES_AT_ONCE, pre_buffer=False)
    except Exception as error:  # on damaged bytes the reader may raise anything
        raise DataError(
            f"{path} is not a readable parquet file ({_first_line(error)}); download it again."
        ) from error


def _rows_at_once(file: pq.ParquetFile, image: str) -> int:
    """Number of rows that stays within bounds even if each row is a column's largest value."""
    groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    columns = [group.column(number) for group in groups for number in range(group.num_columns)]
    sizes = [
        int(column.total_uncompressed_size)
        for column in columns
        if column.path_in_schema.split(".")[0] == image
    ]
    return max(1, min(ROWS_AT_ONCE, DECODED_BYTES_AT_ONCE // max([1, *sizes])))


def _columns_of(path: Path) -> Columns:
    with _opened(path) as file:
        try:
            return _image_and_label(path, file)
        except (UnicodeDecodeError, LookupError, StopIteration) as error:
            raise DataError(
                f"{path} has a damaged schema ({_first_line(error)}); download it again."
            ) from error


def _image_and_label(path: Path, file: pq.ParquetFile) -> Columns:
    features, schema = _features(file), file.schema_arrow

    def described(kind: str) -> list[str]:
        return [
            name
            for name, it in features.items()
            if isinstance(it, dict) and it.get("_type") == kind
        ]

    def of_type(fits: Callable[[pa.DataType], bool]) -> list[str]:
        return [field.name for field in schema if fits(field.type)]

    images = described("Image") or of_type(_is_struct_of_bytes) or of_type(_is_bytes)
    labels = described("ClassLabel") or of_type(pa.types.is_integer)
    if len(images) != 1 or len(labels) != 1 or not {images[0], labels[0]} <= set(schema.names):
        columns = ", ".join(f"{field.name} ({field.type})" for field in schema)
        raise DataError(
            f"{path} has image columns {images} and class-label columns {labels} among {columns};"
            " expected one of each: images as encoded bytes, labels as whole numbers. Convert or"
            " drop columns."
        )
    about = features.get(labels[0])
    names = about.get("names") if isinstance(about, dict) else None
    class_names = tuple(map(str, names)) if isinstance(names, list) else ()
    if len(set(class_names)) < len(class_names):
        twice = next(name for name in class_names if class_names.count(name) > 1)
        raise DataError(
            f"{path} has two classes of the name '{twice}'; give each a different name."
        )
    return Columns(images[0], labels[0], class_names)


def _features(file: pq.ParquetFile) -> dict[str, Any]:
    metadata = file.schema_arrow.metadata or {}
    try:
        features = (
            json.loads(metadata.get(b"huggingface", b"{}")).get("info", {}).get("features", {})
        )
    except (ValueError, AttributeError, RecursionError):
        return {}
    return features if isinstance(features, dict) else {}


def _is_struct_of_bytes(kind: pa.DataType) -> bool:
    """Whether this is the type in which the Hub stores images."""
    return bool(pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0)


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _encoded(
    batch: pa.RecordBatch, columns: Columns, path: Path, row: int, numbers: list[int | None] | None
) -> Iterator[Encoded]:
    images, labels = batch.column(columns.image), batch.column(columns.label)
    contents = images.field("bytes") if pa.types.is_struct(images.type) else images
    if not pa.types.is_integer(labels.type):
        raise DataError(f"{path}: column '{columns.label}' holds {labels.type}, expected integers.")
    _check_range([y for y in labels.to_pylist() if y is not None], columns, path)
    for offset, (content, y) in enumerate(zip(contents, labels.to_pylist(), strict=True)):
        where = f"{path} row {row + offset}"
        encoded = content.as_py()
        if not isinstance(encoded, bytes):
            raise DataError(f"{where} has no image bytes; remove the row.")
        check_size(len(encoded), where)
        if y is None or y < 0:
            raise DataError(f"{where} has label {y}, expected a class; remove the row.")
        label = y if numbers is None else numbers[y]
        if label is None:
            raise DataError(
                f"{where} is of class '{columns.class_names[y]}', which the training files do not"
                " name; add training images of it, or remove the row."
            )
        yield Encoded(encoded, label, where)


def _check_range(labels: list[int], columns: Columns, path: Path) -> None:
    classes = len(columns.class_names) or MOST_CLASSES
    if labels and max(labels) >= classes:
        raise DataError(
            f"{path}: labels run from {min(labels)} to {max(labels)}, but there are"
            f" {len(columns.class_names) or 'no'} class names; number the classes from 0 on."
        )


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
