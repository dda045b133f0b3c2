"""The page of a folder: its settings and package versions as TOML, below a checksum."""

import hashlib
import importlib.metadata
import platform
from pathlib import Path

import tomli_w

from condgen.config import SubjectConfig
from condgen.errors import RunError

CHECKSUM = "# sha256 of the lines below: {sha256}. Remove this line if you change them.\n"
MARKS = ("# sha256", "Remove this line")  # either tells a checksum, altered or not
VERSIONS_OF = ("condgen", "torch", "numpy", "scipy", "scikit-learn", "scikit-image")


def installed_versions() -> dict[str, str]:
    """Versions of Python and the packages that results depend on."""
    versions = {"python": platform.python_version()}
    for package in VERSIONS_OF:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def page_of(config: SubjectConfig) -> str:
    """The text of the page, after a line with its checksum."""
    text = tomli_w.dumps(config.model_dump(exclude_none=True))
    return CHECKSUM.format(sha256=_sha256(text)) + text


def check_unaltered(page: Path) -> None:
    """Refuse a page that was altered; older pages have no checksum.

    Raises:
        RunError: If the page was altered; says how to accept an intended change.
    """
    first, _, text = page.read_text(errors="replace").partition("\n")
    is_checksum = any(mark in first for mark in MARKS)
    if is_checksum and f"{first}\n" != CHECKSUM.format(sha256=_sha256(text)):
        raise RunError(
            f"{page} was altered (sha256 differs); restore it, or remove its first line to accept"
            " the change."
        )


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
