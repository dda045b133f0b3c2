"""Tables of encoded images: from parquet files in the schema of the Hugging Face Hub, or from a folder of files."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from condgen.data.images import Encoded
from condgen.errors import DataError

ROWS_AT_ONCE = 1000
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


class ImageTable(Protocol):
    """Encoded images with labels, read in order, a few at a time."""

    @property
    def class_names(self) -> tuple[str, ...]: ...

    def __len__(self) -> int: ...

    def fingerprint(self) -> str:
        """Changes when the files change; costs no reading."""
        ...

    def chunks(self) -> Iterator[list[Encoded]]: ...


@dataclass(frozen=True)
class ParquetTable:
    """Parquet files with an image column and a class-label column, found from the schema's own metadata.

    Args:
        paths: The files of one split, in order.

    Raises:
        DataError: On reading, if a file is damaged or has no such columns; names the file, and the row where there is one.
    """

    paths: tuple[Path, ...]

    @property
    def class_names(self) -> tuple[str, ...]:
        names = _features(self._open(self.paths[0])).get(self._columns()[1], {}).get("names")
        return tuple(map(str, names)) if isinstance(names, list) else ()

    def __len__(self) -> int:
        return sum(self._open(path).metadata.num_rows for path in self.paths)

    def fingerprint(self) -> str:
        return _fingerprint(self.paths)

    def chunks(self) -> Iterator[list[Encoded]]:
        image, label = self._columns()
        for path in self.paths:
            row = 0
            try:
                for batch in self._open(path).iter_batches(ROWS_AT_ONCE, columns=[image, label]):
                    yield _encoded(batch, image, label, path, row)
                    row += batch.num_rows
            except DataError:
                raise
            except Exception as error:  # on damaged bytes the reader may raise anything
                raise DataError(f"{path} is damaged after row {row} ({_first_line(error)}); fetch it again.") from error

    def _open(self, path: Path) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(path)
        except Exception as error:  # on damaged bytes the reader may raise anything
            raise DataError(f"{path} is not a readable parquet file ({_first_line(error)}); fetch it again.") from error

    def _columns(self) -> tuple[str, str]:
        file = self._open(self.paths[0])
        try:
            return self._image_and_label(file)
        except (UnicodeDecodeError, LookupError, StopIteration) as error:
            raise DataError(f"{self.paths[0]} has a damaged schema ({_first_line(error)}); fetch it again.") from error

    def _image_and_label(self, file: pq.ParquetFile) -> tuple[str, str]:
        features, schema = _features(file), file.schema_arrow

        def described(kind: str) -> list[str]:
            return [name for name, it in features.items() if isinstance(it, dict) and it.get("_type") == kind]

        def of_type(fits: Callable[[pa.DataType], bool]) -> list[str]:
            return [field.name for field in schema if fits(field.type)]

        images = described("Image") or of_type(_is_struct_of_bytes) or of_type(_is_bytes)
        labels = described("ClassLabel") or of_type(pa.types.is_integer)
        if len(images) != 1 or len(labels) != 1 or not {images[0], labels[0]} <= set(schema.names):
            columns = ", ".join(f"{field.name} ({field.type})" for field in schema)
            raise DataError(
                f"{self.paths[0]} has image columns {images} and class-label columns {labels} among {columns}; expected one of"
                " each: images as encoded bytes, labels as whole numbers. Convert or drop columns."
            )
        return images[0], labels[0]


@dataclass(frozen=True)
class FolderTable:
    """Image files in one sub-folder per class.

    Args:
        root: Holds the sub-folders.
        class_names: Names of the sub-folders, in the order of the labels.
        files: ``(path, label)`` of each image, in order.
    """

    root: Path
    class_names: tuple[str, ...]
    files: tuple[tuple[Path, int], ...]

    @classmethod
    def scan(cls, root: Path, class_names: Sequence[str] | None = None) -> "FolderTable":
        """List the images below ``root``, sorted by name.

        Raises:
            DataError: If there is no sub-folder, fewer than two, an empty one, or one that ``class_names`` does not have.
        """
        found = sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
        if len(found) < 2:
            raise DataError(f"{root} has {len(found)} class folders ({', '.join(found)}); expected at least two.")
        names = tuple(class_names or found)
        if set(found) != set(names):
            different = sorted(set(found) ^ set(names))
            raise DataError(f"{root} does not have the same class folders as the other split: {', '.join(different)}.")
        files: list[tuple[Path, int]] = []
        for label, name in enumerate(names):
            below = (path for path in (root / name).rglob("*") if path.suffix.lower() in SUFFIXES)
            images = sorted(path for path in below if not _is_hidden(path.relative_to(root)))
            if not images:
                raise DataError(f"class folder {root / name} holds no PNG, JPEG or WebP image; fill or remove it.")
            files += [(path, label) for path in images]
        return cls(root, names, tuple(files))

    def __len__(self) -> int:
        return len(self.files)

    def fingerprint(self) -> str:
        return _fingerprint([path for path, _ in self.files])

    def chunks(self) -> Iterator[list[Encoded]]:
        for start in range(0, len(self.files), ROWS_AT_ONCE):
            chunk = self.files[start : start + ROWS_AT_ONCE]
            try:
                yield [Encoded(path.read_bytes(), label, str(path)) for path, label in chunk]
            except OSError as error:
                raise DataError(f"{error.filename} cannot be read ({error.strerror}).") from error


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _features(file: pq.ParquetFile) -> dict[str, Any]:
    metadata = file.schema_arrow.metadata or {}
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    except (ValueError, AttributeError):
        return {}
    return features if isinstance(features, dict) else {}


def _is_struct_of_bytes(kind: pa.DataType) -> bool:
    """As the Hub stores images."""
    return bool(pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0)


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _encoded(batch: pa.RecordBatch, image: str, label: str, path: Path, row: int) -> list[Encoded]:
    column = batch.column(image)
    contents = column.field("bytes").to_pylist() if pa.types.is_struct(column.type) else column.to_pylist()
    labels = batch.column(label)
    if not pa.types.is_integer(labels.type):
        raise DataError(f"{path}: column '{label}' holds {labels.type}, expected integers.")
    encoded = []
    for offset, (content, y) in enumerate(zip(contents, labels.to_pylist(), strict=True)):
        where = f"{path} row {row + offset}"
        if not isinstance(content, bytes):
            raise DataError(f"{where} has no image bytes; remove the row.")
        if y is None or y < 0:
            raise DataError(f"{where} has label {y}, expected a class; remove the row.")
        encoded.append(Encoded(content, y, where))
    return encoded


def _fingerprint(paths: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        try:
            status = path.stat()
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror}).") from error
        digest.update(f"{path.resolve()}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
