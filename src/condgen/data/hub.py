"""Parquet files of a data set on the Hugging Face Hub: downloaded once, checked, and found again without a network."""

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
ELSEWHERE = "mnist and cifar10 are read from a folder as well (--data-dir or CONDGEN_DATA), others from parquet:PATH."


@dataclass(frozen=True)
class HubFile:
    """A file of a repository, and where it lies on this machine."""

    name: str
    path: Path


def hub_files(repository: str, revision: str | None = None) -> list[HubFile]:
    """All parquet files of a data set, downloaded where they are missing.

    The first use of a repository fixes its commit: later ones need no network and see the same content. Another
    ``revision`` is another data set.

    Raises:
        DataError: No network, no such repository, no space, or a file whose content is not what the Hub says.
    """
    listing = (
        cache_directory() / "hub" / f"{repository.replace('/', '--')}@{revision or 'main'}.json"
    )
    known = _known(listing)
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


def _known(path: Path) -> Listing | None:
    """What an earlier call has found."""
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
    with _explained(repository, revision):
        info = HfApi(endpoint=endpoint).dataset_info(
            repository, revision=revision, files_metadata=True
        )
        wanted = [
            sibling for sibling in info.siblings or [] if sibling.rfilename.endswith(".parquet")
        ]
        if not wanted:
            raise DataError(
                f"hub:{repository} holds no parquet file; `hub:{repository}@refs/convert/parquet` may."
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
    """The sha256 that the Hub promises, where it does; a file that differs is removed, so that the next try fetches it."""
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
            f"{sibling.rfilename} of hub:{repository} does not match its sha256; removed it, try again."
        )


@contextmanager
def _explained(repository: str, revision: str | None) -> Iterator[None]:
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
            f"hub:{repository} cannot be fetched ({first}); check network and disk. {ELSEWHERE}"
        ) from error
    except Exception as error:  # the HTTP library's own connection errors
        raise DataError(
            f"hub:{repository} cannot be reached ({type(error).__name__}); check the network. {ELSEWHERE}"
        ) from error
