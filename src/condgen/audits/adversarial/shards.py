"""Results written piece by piece, so that a long audit survives being killed."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from condgen.files import written_whole

Arrays = dict[str, NDArray[Any]]


class Shards:
    """A folder of pieces that belong to one plan; pieces of another plan are never mixed in.

    Args:
        directory: Where plans have their folders; ``None`` keeps nothing on disk.
        plan: All that the results depend on; JSON.
    """

    def __init__(self, directory: Path | None, plan: dict[str, Any]):
        text = json.dumps(plan, indent=1, sort_keys=True)
        self.root = directory
        self.folder = directory / hashlib.sha256(text.encode()).hexdigest()[:12] if directory else None
        if self.folder and not (self.folder / "plan.json").exists():
            with written_whole(self.folder / "plan.json") as path:
                path.write_text(text + "\n")

    def get(self, name: str, compute: Callable[[], Arrays]) -> Arrays:
        """The piece ``name``: read if an earlier run has written it, else computed and written whole."""
        if self.folder is None:
            return compute()
        path = self.folder / f"{name}.npz"
        if path.exists():
            with path.open("rb") as file, np.load(file) as arrays:
                return dict(arrays)
        arrays = compute()
        with written_whole(path) as work:
            np.savez_compressed(work, **arrays)  # type: ignore[arg-type]
        return arrays

    def forget_others(self) -> None:
        """Remove the pieces of other plans, once this one is complete."""
        if self.root and self.folder:
            for other in self.root.iterdir():
                if other != self.folder and (other / "plan.json").exists():
                    shutil.rmtree(other)
