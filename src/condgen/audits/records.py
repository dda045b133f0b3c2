"""Records: the results of an audit as per-image arrays, and a summary computed from them."""

import hashlib
import io
import json
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from condgen.errors import CondgenError, RunError
from condgen.files import as_json, as_path, atomic_write, digest_of, locked
from condgen.registry import AUDITS

OWN_KEYS = ("origin", "sha256")  # keys of the file besides those of the summary
OLDER_NAMES = {new: old for old, new in AUDITS.renamed.items()}  # former names of files
OLDER_KEYS = {  # former keys of summaries and arrays
    "unnoticed": "undetected",
    "unnoticed_ci": "undetected_ci",
    "unnoticed_within": "undetected_within",
    "unnoticed_within_ci": "undetected_within_ci",
    "median_l2_unnoticed": "median_l2_undetected",
    "median_l2_unnoticed_ci": "median_l2_undetected_ci",
    "fooled": "misclassified",
    "fooled_ci": "misclassified_ci",
    "fooled_within": "misclassified_within",
    "fooled_within_ci": "misclassified_within_ci",
    "knows_detector": "detector_aware",
    "stored_within": "quantized_within",
    "stored_within_ci": "quantized_within_ci",
    "rounded": "quantized",
    "reached_rounded": "reached_quantized",
    "l2_rounded": "l2_quantized",
    "flagged_rounded": "flagged_quantized",
    "predicted_rounded": "predicted_quantized",
    "bits_per_dim_rounded": "bits_per_dim_quantized",
    "score_rounded": "score_quantized",
    "accepted_all_along": "accepted_at_every_step",
    "accepted_all_along_ci": "accepted_at_every_step_ci",
}
SECONDS_TO_SAVE = 60  # maximum wait for another process that saves the same record


@dataclass(frozen=True)
class Record:
    """The results of one audit of one model.

    Args:
        audit: Name of the audit and of the files.
        summary: Numbers and lists for tables; JSON.
        arrays: Per-image results from which the summary was computed.
        origin: The weights, settings and versions used; JSON. Audits of a run fill it in.

    Raises:
        CondgenError: If the summary has a key reserved for the file, or an array holds Python
            objects.
    """

    audit: str
    summary: dict[str, Any]
    arrays: dict[str, NDArray[Any]]
    origin: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if taken := [key for key in OWN_KEYS if key in self.summary]:
            raise CondgenError(
                f"the summary of {self.audit} has a key '{taken[0]}', which is reserved for the"
                " file; rename it."
            )
        for name, array in self.arrays.items():
            if np.asarray(array).dtype.hasobject:
                raise CondgenError(
                    f"the array '{name}' of {self.audit} holds Python objects, expected numbers or"
                    " strings."
                )

    def save(self, directory: Path | str) -> None:
        """Write ``<audit>.json`` and its arrays ``<audit>.<hash>.npz``.

        The update is atomic: it takes effect when ``<audit>.json`` is replaced, which holds the
        sha256 of the arrays and of its own content.
        """
        directory = as_path(directory)
        arrays = _packed(self.arrays)
        content = {**as_json(self.summary), "origin": as_json(self.origin)}
        sha256 = {"arrays": hashlib.sha256(arrays).hexdigest()}
        sha256["record"] = digest_of({**content, "sha256": sha256})
        with audit_lock(directory, self.audit, wait=SECONDS_TO_SAVE):
            stored = _arrays_file(directory, self.audit, sha256["arrays"])
            with atomic_write(stored) as work:
                work.write_bytes(arrays)
            with atomic_write(directory / f"{self.audit}.json") as work:
                work.write_text(json.dumps({**content, "sha256": sha256}, indent=1) + "\n")
            for former in _all_arrays(directory, self.audit):
                if former != stored:
                    former.unlink(missing_ok=True)
            if older := OLDER_NAMES.get(self.audit):
                for path in [directory / f"{older}.json", *_all_arrays(directory, older)]:
                    path.unlink(missing_ok=True)

    @classmethod
    def load(cls, directory: Path | str, audit: str) -> "Record":
        """Read a record that :meth:`save` or a version without checksums wrote.

        Raises:
            RunError: If it is missing, damaged or altered.
        """
        directory, name = as_path(directory), file_of(as_path(directory), audit)
        try:
            return replace(cls._read(directory, name), audit=audit)
        except FileNotFoundError as error:
            if not (directory / f"{audit}.json").exists():
                raise RunError(
                    f"{directory} has no record of the {audit} audit; run `condgen audit` on the"
                    " run first."
                ) from error
            raise _damaged(directory, audit, f"{Path(error.filename).name} is missing") from error
        except Exception as error:  # the readers may raise anything on damaged bytes
            raise _damaged(directory, audit, error or type(error).__name__) from error

    @classmethod
    def _read(cls, directory: Path, audit: str) -> "Record":
        content = json.loads((directory / f"{audit}.json").read_bytes())
        if not isinstance(content, dict) or not isinstance(content.get("origin", {}), dict):
            raise TypeError("its summary is not a JSON object")
        if "sha256" in content:
            arrays = _arrays_file(directory, audit, content["sha256"]["arrays"]).read_bytes()
            expected = content["sha256"].pop("record")
            if (
                hashlib.sha256(arrays).hexdigest() != content["sha256"]["arrays"]
                or digest_of(content) != expected
            ):
                raise ValueError("sha256 differs")
            del content["sha256"]
        else:  # written by a version without checksums
            arrays = (directory / f"{audit}.npz").read_bytes()
        origin = content.pop("origin", {})
        with np.load(io.BytesIO(arrays)) as found:
            named = {OLDER_KEYS.get(name, name): array for name, array in found.items()}
            return cls(audit, _renamed(content), named, origin)


def file_of(directory: Path, audit: str) -> str:
    """The name of a record's files; the former name of the audit if an older version wrote them."""
    older = OLDER_NAMES.get(audit, audit)
    current = (directory / f"{audit}.json").exists()
    return audit if current or not (directory / f"{older}.json").exists() else older


def _renamed(value: Any) -> Any:
    """A summary with former keys replaced by current ones."""
    if isinstance(value, Mapping):
        return {OLDER_KEYS.get(key, key): _renamed(held) for key, held in value.items()}
    return [_renamed(held) for held in value] if isinstance(value, list) else value


def audit_lock(directory: Path, audit: str, *, wait: float = 0) -> AbstractContextManager[None]:
    """Lock a record while it is made or saved, since two processes would mix their shards.

    Raises:
        RunError: If another process still holds the lock after ``wait`` seconds.
    """
    busy = f"the {audit} audit in {directory} is being made by another process; wait for it."
    return locked(directory / f".{audit}.lock", busy, wait=wait, again=True)


def records_in(directory: Path) -> list[str]:
    """Names of the audits with a record in ``directory``: registered ones first, in that order."""
    stems = (path.stem for path in directory.glob("*.json"))
    found = {AUDITS.renamed.get(stem, stem) for stem in stems}
    known = [name for name in AUDITS.names() if name in found]
    return [*known, *sorted(found - set(known))]


def _damaged(directory: Path, audit: str, reason: object) -> RunError:
    return RunError(
        f"the record {directory / audit}.json/.npz is damaged ({reason}); audit the run again."
    )


def _arrays_file(directory: Path, audit: str, sha256: str) -> Path:
    return directory / f"{audit}.{sha256[:12]}.npz"


def _all_arrays(directory: Path, audit: str) -> list[Path]:
    """All array files of this audit, with or without a checksum in their name."""
    return [
        path
        for path in directory.iterdir()
        if re.fullmatch(rf"{re.escape(audit)}(\.[0-9a-f]{{12}})?\.npz", path.name)
    ]


def _packed(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **cast(dict[str, Any], arrays))
    return buffer.getvalue()
