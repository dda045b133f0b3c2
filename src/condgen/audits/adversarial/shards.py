"""Results written shard by shard, so that an interrupted audit can resume."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from condgen.files import atomic_write

Arrays = dict[str, NDArray[Any]]
SHARD = 25  # images per shard
CHECKSUM = "sha256"  # array of a file with the hash of the others; older files have none


class Shards:
    """The folder of the shards of one plan. Shards of other plans are neither read nor changed.

    Args:
        directory: The parent of the folders of all plans; ``None`` keeps nothing on disk.
        plan: Everything that the results depend on, as JSON.
    """

    def __init__(self, directory: Path | str | None, plan: dict[str, Any]):
        text = json.dumps(plan, indent=1, sort_keys=True)
        self.folder = (
            Path(directory) / hashlib.sha256(text.encode()).hexdigest()[:12] if directory else None
        )
        if self.folder and not _holds(self.folder / "plan.json", f"{text}\n".encode()):
            with atomic_write(self.folder / "plan.json") as path:
                path.write_text(f"{text}\n")

    def get(
        self, name: str, compute: Callable[[], Arrays], columns: Sequence[str], rows: int
    ) -> Arrays:
        """Read shard ``name`` if an earlier run wrote it; else compute it and write it atomically.

        A shard is recomputed if it is damaged, or if it does not have exactly these columns with
        this many rows each.
        """
        if self.folder is None:
            return compute()
        path = self.folder / f"{name}.npz"
        if path.exists():
            try:
                with path.open("rb") as file, np.load(file) as arrays:
                    shard = dict(arrays)
                checksum = shard.pop(CHECKSUM, None)
                _check(shard, columns, rows)
                if checksum is not None and str(checksum) != _digest(shard):
                    raise ValueError("sha256 differs")
                return shard
            except Exception as error:  # the reader may raise anything on damaged bytes
                Console(stderr=True).print(
                    f"{path} is damaged ({error}); it is recomputed.",
                    markup=False,
                    style="yellow",
                    soft_wrap=True,
                )
        shard = compute()
        with atomic_write(path) as work, work.open("wb") as output:
            checksum = {CHECKSUM: np.array(_digest(shard))}
            np.savez_compressed(output, **cast(dict[str, Any], shard | checksum))
        return shard


def _holds(path: Path, content: bytes) -> bool:
    return path.exists() and path.read_bytes() == content


def _digest(shard: Arrays) -> str:
    """Hash names, types, shapes and contents of the arrays."""
    found = hashlib.sha256()
    for name, array in sorted(shard.items()):
        found.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        found.update(array.tobytes())
    return found.hexdigest()


def _check(shard: Arrays, columns: Sequence[str], rows: int) -> None:
    wrong = [name for name in columns if len(shard.get(name, ())) != rows]
    if wrong or len(shard) != len(columns):
        raise ValueError(f"wrong columns: {', '.join(wrong) or 'it has more than expected'}")
