"""Downloads over HTTP: complete, interrupted and resumed, corrupted, missing, offline."""

from pathlib import Path

import numpy as np
import pytest

from condgen.data.catalogue import open_dataset
from condgen.errors import DataError
from tests.data.files import pictures, small_hub_set
from tests.data.hub_server import COMMIT, Hub, serving


@pytest.fixture(autouse=True)
def empty_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setenv("CONDGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CONDGEN_DATA", raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")


def reach(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.url)


def test_a_set_comes_down_once_and_is_found_again_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Hub({"us/pets": small_hub_set()})) as hub:
        reach(hub, monkeypatch)
        first = open_dataset("hub:us/pets")
    assert first.train.class_names == ("cat", "dog")
    assert [len(part) for _, part in first.items()] == [36, 4, 10]
    again = open_dataset("hub:us/pets")  # the server has stopped
    assert np.array_equal(again.train.images, first.train.images)
    assert any(f"/resolve/{COMMIT}/" in request for request in hub.requests)
    shown = {image.tobytes() for _, part in first.items() for image in part.images}
    assert shown == {p.tobytes() for p in [*pictures(40), *pictures(10, seed=1)]}


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_the_named_sets_come_from_their_repositories(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = {"mnist": "ylecun/mnist", "cifar10": "uoft-cs/cifar10"}[name]
    with serving(Hub({repository: small_hub_set()})) as hub:
        reach(hub, monkeypatch)
        splits = open_dataset(name)
    assert splits.train.event_shape == ((1, 32, 32) if name == "mnist" else (1, 6, 6))


def test_a_broken_transfer_goes_on_where_it_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    with serving(Hub({"us/pets": small_hub_set(400)}, break_after=3000)) as hub:
        reach(hub, monkeypatch)
        splits = open_dataset("hub:us/pets")
    assert len(splits.train) == 360
    assert "bytes=3000-" in hub.ranges


def test_a_file_that_does_not_match_its_hash_is_refused_and_not_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with serving(Hub({"us/pets": small_hub_set()}, corrupt=True)) as hub:
        reach(hub, monkeypatch)
        with pytest.raises(DataError, match="does not match its sha256; removed it, try again"):
            open_dataset("hub:us/pets")
        hub.corrupt = False
        assert len(open_dataset("hub:us/pets").train) == 36


def test_a_repository_or_revision_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Hub({"us/pets": small_hub_set()})) as hub:
        reach(hub, monkeypatch)
        with pytest.raises(DataError, match="hub:us/pest does not exist"):
            open_dataset("hub:us/pest")
        with pytest.raises(DataError, match="has no revision 'v9'"):
            open_dataset("hub:us/pets@v9")


def test_a_repository_without_parquet(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Hub({"us/notes": {"README.md": b"words"}})) as hub:
        reach(hub, monkeypatch)
        with pytest.raises(DataError, match="has no parquet files"):
            open_dataset("hub:us/notes")


def test_a_server_in_trouble_is_named_and_asked_again_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with serving(Hub({"us/pets": small_hub_set()}, status=403)) as hub:
        reach(hub, monkeypatch)
        with pytest.raises(
            DataError, match=r"hub:us/pets cannot be fetched \(.*403.*try again later"
        ):
            open_dataset("hub:us/pets")
        hub.status = 200
        assert len(open_dataset("hub:us/pets").train) == 36


def test_files_without_a_promised_hash_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Hub({"us/pets": small_hub_set()}, hashes=False)) as hub:
        reach(hub, monkeypatch)
        assert len(open_dataset("hub:us/pets").train) == 36


def test_a_disk_that_takes_no_download_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants

    (tmp_path / "file").write_text("")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "file" / "hub"))
    with serving(Hub({"us/pets": small_hub_set()})) as hub:
        reach(hub, monkeypatch)
        with pytest.raises(
            DataError, match=r"hub:us/pets cannot be fetched \(.*check network and disk"
        ):
            open_dataset("hub:us/pets")


def test_no_network_names_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DataError, match="--data-dir or CONDGEN_DATA"):
        open_dataset("mnist")
