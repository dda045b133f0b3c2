"""Results written piece by piece, so that a long audit survives being killed."""

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
SHARD = 25  # images in one piece of the work


class Shards:
    """A folder of pieces that belong to one plan; pieces of another plan are neither mixed in nor touched.

    Args:
        directory: Where plans have their folders; ``None`` keeps nothing on disk.
        plan: All that the results depend on; JSON.
    """

    def __init__(self, directory: Path | str | None, plan: dict[str, Any]):
        text = json.dumps(plan, indent=1, sort_keys=True)
        self.folder = (
            Path(directory) / hashlib.sha256(text.encode()).hexdigest()[:12] if directory else None
        )
        if self.folder and not (self.folder / "plan.json").exists():
            with atomic_write(self.folder / "plan.json") as path:
                path.write_text(text + "\n")

    def get(
        self, name: str, compute: Callable[[], Arrays], columns: Sequence[str], rows: int
    ) -> Arrays:
        """The piece ``name``: read if an earlier run has written it, else computed and written whole.

        One that has not exactly these columns, each with so many rows, is made again, as one that is damaged.
        """
        if self.folder is None:
            return compute()
        path = self.folder / f"{name}.npz"
        if path.exists():
            try:
                with path.open("rb") as file, np.load(file) as arrays:
                    piece = dict(arrays)
                _check(piece, columns, rows)
                return piece
            except Exception as error:  # on damaged bytes the reader may raise anything
                Console(stderr=True).print(
                    f"{path} is damaged ({error}); it is made again.",
                    markup=False,
                    style="yellow",
                    soft_wrap=True,
                )
        made = compute()
        with atomic_write(path) as work, work.open("wb") as written:
            np.savez_compressed(written, **cast(dict[str, Any], made))
        return made


def _check(piece: Arrays, columns: Sequence[str], rows: int) -> None:
    wrong = [name for name in columns if len(piece.get(name, ())) != rows]
    if wrong or len(piece) != len(columns):
        raise ValueError(f"its columns are incomplete: {', '.join(wrong) or 'others are there'}")
