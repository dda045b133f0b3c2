"""What an audit leaves behind: an array per measured quantity, a row per image, and a summary computed from them."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from condgen.errors import RunError
from condgen.files import written_whole
from condgen.registry import AUDITS


@dataclass(frozen=True)
class Record:
    """One audit of one model.

    Args:
        audit: Its name, and that of the two files.
        summary: Numbers and lists for tables; JSON.
        arrays: Per-image results that the summary was computed from.
        origin: Which weights, settings and versions it was made with; JSON. Audits of a run fill it in.
    """

    audit: str
    summary: dict[str, Any]
    arrays: dict[str, NDArray[Any]]
    origin: dict[str, Any] = field(default_factory=dict)

    def save(self, directory: Path | str) -> None:
        """Write ``<audit>.npz`` and ``<audit>.json``, both or neither: the former pair stays until the new one is written."""
        summary, arrays = (Path(directory) / f"{self.audit}.{suffix}" for suffix in ("json", "npz"))
        with written_whole(summary) as to_summary, written_whole(arrays) as to_arrays:
            np.savez_compressed(to_arrays, **cast(dict[str, Any], self.arrays))
            to_summary.write_text(json.dumps({**self.summary, "origin": self.origin}, indent=1) + "\n")

    @classmethod
    def load(cls, directory: Path | str, audit: str) -> "Record":
        """Read what :meth:`save` wrote.

        Raises:
            RunError: If it is missing or damaged.
        """
        directory = Path(directory)
        try:
            summary = json.loads((directory / f"{audit}.json").read_text())
            with (directory / f"{audit}.npz").open("rb") as file, np.load(file) as arrays:
                if not isinstance(summary, dict):
                    raise TypeError("its summary is no table")
                origin = summary.pop("origin", {})  # records of before have none
                return cls(audit, summary, dict(arrays), origin)
        except FileNotFoundError as error:
            raise RunError(f"{directory} has no record of the {audit} audit; run `condgen audit` on the run first.") from error
        except Exception as error:  # on damaged bytes the readers may raise anything
            reason = error or type(error).__name__
            raise RunError(f"the record {directory / audit}.json/.npz is damaged ({reason}); audit the run again.") from error


def records_in(directory: Path) -> list[str]:
    """Audits with a record in ``directory``, those that the registry knows first and in its order."""
    found = {path.stem for path in directory.glob("*.json")}
    known = [name for name in AUDITS.names() if name in found]
    return [*known, *sorted(found - set(known))]
