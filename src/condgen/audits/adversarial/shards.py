"""Results written piece by piece, so that a long audit survives being killed."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from condgen.files import written_whole

Arrays = dict[str, NDArray[Any]]


class Shards:
    """A folder of pieces that belong to one plan; pieces of another plan are neither mixed in nor touched.

    Args:
        directory: Where plans have their folders; ``None`` keeps nothing on disk.
        plan: All that the results depend on; JSON.
    """

    def __init__(self, directory: Path | None, plan: dict[str, Any]):
        text = json.dumps(plan, indent=1, sort_keys=True)
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
        with written_whole(path) as work, work.open("wb") as written:
            np.savez_compressed(written, **arrays)  # type: ignore[arg-type]
        return arrays


def fingerprint(value: object) -> str:
    """A hash of what a value is made of: tensors by content, objects by class and attributes.

    >>> from condgen.attacks import CarliniWagner
    >>> fingerprint(CarliniWagner()) == fingerprint(CarliniWagner()) != fingerprint(CarliniWagner(steps=3))
    True
    """
    return hashlib.sha256(_parts(value)).hexdigest()


def _parts(value: object) -> bytes:
    match value:
        case Tensor():
            return str(value.shape).encode() + value.detach().cpu().double().numpy().tobytes()
        case list() | tuple():
            return b"".join(fingerprint(part).encode() for part in value)
        case _ if hasattr(value, "__dict__"):
            kind = type(value)
            return f"{kind.__module__}.{kind.__qualname__}".encode() + fingerprint(sorted(vars(value).items())).encode()
        case _:
            return repr(value).encode()
