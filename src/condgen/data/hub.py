"""Parquet files of Hugging Face Hub data sets: downloaded once, verified, then used offline."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from condgen.data.cache import cache_directory
from condgen.errors import DataError
from condgen.files import atomic_write

BLOCK = 1 << 22
OFFLINE = (
    "Without a network, read mnist and cifar10 from a folder (--data-dir or CONDGEN_DATA),"
    " others from parquet:PATH."
)


@dataclass(frozen=True)
class HubFile:
    """A file of a repository, and its path on this machine."""

    name: str
    path: Path


def hub_files(repository: str, revision: str | None = None) -> list[HubFile]:
    """All parquet files of a data set; missing files are downloaded.

    The first use of a repository fixes its commit: later uses need no network and read the same
    content. A different ``revision`` is a different data set.

    Raises:
        DataError: No network, no such repository, no space, or a file that does not match the
            checksum of the Hub.
    """
    listing = (
        cache_directory() / "hub" / f"{repository.replace('/', '--')}@{revision or 'main'}.json"
    )
    known = _read_listing(listing)
    if known is not None and all(file.path.is_file() for file in known.files):
        return known.files
    fetched = _download(repository, known.commit if known else revision)
    with atomic_write(listing) as path:
        path.write_text(
            json.dumps(
                {"commit": fetched.commit, "files": {f.name: str(f.path) for f in fetched.files}},
                indent=1,
            )
        )
    return fetched.files


@dataclass(frozen=True)
class Listing:
    """The files of one commit."""

    commit: str
    files: list[HubFile]


def _read_listing(path: Path) -> Listing | None:
    """The listing that an earlier call saved; None if it is missing or damaged."""
    try:
        stored = json.loads(path.read_text())
        return Listing(
            stored["commit"], [HubFile(name, Path(file)) for name, file in stored["files"].items()]
        )
    except (OSError, ValueError, LookupError, AttributeError, TypeError):
        return None


def _download(repository: str, revision: str | None) -> Listing:
    from huggingface_hub import HfApi, hf_hub_download

    endpoint = os.environ.get("HF_ENDPOINT")
    with _hub_errors(repository, revision):
        info = HfApi(endpoint=endpoint).dataset_info(
            repository, revision=revision, files_metadata=True
        )
        wanted = [
            sibling for sibling in info.siblings or [] if sibling.rfilename.endswith(".parquet")
        ]
        if not wanted:
            raise DataError(
                f"hub:{repository} has no parquet files; try hub:{repository}@refs/convert/parquet."
            )
        files = []
        for sibling in wanted:
            path = Path(
                hf_hub_download(
                    repository,
                    sibling.rfilename,
                    repo_type="dataset",
                    revision=info.sha,
                    endpoint=endpoint,
                )
            )
            _check(path, sibling, repository)
            files.append(HubFile(sibling.rfilename, path))
    return Listing(str(info.sha), files)


def _check(path: Path, sibling: Any, repository: str) -> None:
    """Compare the file with the Hub's sha256, if there is one; remove a file that differs."""
    if sibling.lfs is None:
        return
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    if digest.hexdigest() != sibling.lfs.sha256:
        blob = path.resolve()
        path.unlink()
        blob.unlink(missing_ok=True)
        raise DataError(
            f"{sibling.rfilename} of hub:{repository} does not match its sha256; removed it,"
            " try again."
        )


@contextmanager
def _hub_errors(repository: str, revision: str | None) -> Iterator[None]:
    """Turn errors of the Hub's client into a :class:`DataError`."""
    from huggingface_hub.errors import (
        HfHubHTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except RevisionNotFoundError as error:
        raise DataError(f"hub:{repository} has no revision '{revision}'.") from error
    except RepositoryNotFoundError as error:
        raise DataError(
            f"hub:{repository} does not exist, or is private; check the name, or log in to the Hub."
        ) from error
    except HfHubHTTPError as error:
        raise DataError(
            f"hub:{repository} cannot be fetched ({str(error).splitlines()[0]}); try again later."
        ) from error
    except DataError:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(
            f"hub:{repository} cannot be fetched ({first}); check network and disk. {OFFLINE}"
        ) from error
    except Exception as error:  # the HTTP library's own connection errors
        raise DataError(
            f"hub:{repository} cannot be reached ({type(error).__name__}); check the network."
            f" {OFFLINE}"
        ) from error
