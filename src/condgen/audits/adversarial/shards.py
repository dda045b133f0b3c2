"""Results written piece by piece, so that a long audit survives being killed."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor

from condgen.files import written_whole

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
        self.folder = Path(directory) / hashlib.sha256(text.encode()).hexdigest()[:12] if directory else None
        if self.folder and not (self.folder / "plan.json").exists():
            with written_whole(self.folder / "plan.json") as path:
                path.write_text(text + "\n")

    def get(self, name: str, compute: Callable[[], Arrays]) -> Arrays:
        """The piece ``name``: read if an earlier run has written it, else computed and written whole."""
        if self.folder is None:
            return compute()
        path = self.folder / f"{name}.npz"
        if path.exists():
            try:
                with path.open("rb") as file, np.load(file) as arrays:
                    return dict(arrays)
            except Exception as error:  # on damaged bytes the reader may raise anything
                Console(stderr=True).print(f"{path} is damaged ({error}); it is made again.", markup=False, style="yellow")
        made = compute()
        with written_whole(path) as work, work.open("wb") as written:
            np.savez_compressed(written, **cast(dict[str, Any], made))
        return made


def fingerprint(value: object) -> str:
    """A hash of what a value is made of: tensors and arrays by content, functions by code, objects by class and attributes.

    What has no content to compare, such as a generator, is unlike itself the next time, so that nothing stale is read.

    >>> from condgen.attacks import CarliniWagner
    >>> fingerprint(CarliniWagner()) == fingerprint(CarliniWagner()) != fingerprint(CarliniWagner(steps=3))
    True
    """
    return _hash(value, frozenset())


def _hash(value: object, above: frozenset[int]) -> str:
    """``above`` are the values that this one is a part of, which may be a part of it."""
    within = above | {id(value)}
    parts = b"itself" if id(value) in above else _content(value, lambda part: _hash(part, within).encode())
    return hashlib.sha256(parts).hexdigest()


def _content(value: object, part: Callable[[object], bytes]) -> bytes:
    match value:
        case Tensor():
            return str(value.shape).encode() + value.detach().cpu().double().numpy().tobytes()
        case np.ndarray():
            return f"{value.shape} {value.dtype}".encode() + value.tobytes()
        case list() | tuple():
            return b"".join(map(part, value))
        case set() | frozenset():
            return b"".join(sorted(map(part, value)))
        case dict():
            return b"".join(sorted(map(part, value.items())))
        case CodeType():
            return value.co_code + part([value.co_names, value.co_consts])
        case FunctionType():
            return part([value.__code__, value.__defaults__, [cell.cell_contents for cell in value.__closure__ or ()]])
        case ModuleType():
            return value.__name__.encode()
        case type():
            functions = [(name, held) for name, held in vars(value).items() if isinstance(held, FunctionType)]
            return f"{value.__module__}.{value.__qualname__}".encode() + part([value.__bases__, dict(functions)])
        case _ if hasattr(value, "__dict__"):
            return part([type(value), vars(value)])
        case _:
            return repr(value).encode()
