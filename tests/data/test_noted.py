"""The image metadata that a run stores, and mismatching images that it refuses."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from condgen.config import Data, load_preset
from condgen.data.catalogue import open_dataset
from condgen.data.dataset import ImageDataset, Splits
from condgen.errors import RunError
from condgen.experiments.building import check_images_of, images_of, open_data
from tests.data.files import encoded, pictures, write_folder

HERE = Path("runs/a")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONDGEN_CACHE", str(tmp_path_factory.mktemp("cache")))


def named(*names: str) -> Splits:
    images = np.stack(pictures(8))[:, None]
    data = ImageDataset(images, np.arange(8) % 2, names)
    return Splits(data, data, data, "", "")


def test_a_run_notes_what_was_left_out_and_goes_on_with_other_notes() -> None:
    splits = replace(named("cat", "dog"), notes=("3 .gif files were left out",))
    config = load_preset("digits-base").model_copy(
        update={"images": images_of(splits, hashed=True)}
    )
    assert config.images is not None
    assert config.images.notes == ["3 .gif files were left out"]
    check_images_of(config, replace(splits, notes=()), HERE)


def test_a_run_refuses_other_numbers_for_its_classes_and_takes_other_names() -> None:
    config = load_preset("digits-base").model_copy(
        update={"images": images_of(named("cat", "dog"), hashed=True)}
    )
    check_images_of(config, named("cat", "hound"), HERE)
    with pytest.raises(
        RunError, match="runs/a was trained with 'cat' as class 0, which is 'dog' in images now"
    ):
        check_images_of(config, named("dog", "cat"), HERE)


def test_a_page_chooses_the_seed_of_the_split(tmp_path: Path) -> None:
    name = f"folder:{write_folder(tmp_path, {'a': 50, 'b': 50})}"
    config = load_preset("digits-base")
    opened = [
        open_data(
            config.model_copy(update={"data": Data(name=name, split_seed=seed)})
        ).validation.sha256()
        for seed in (0, 1)
    ]
    assert opened == [open_dataset(name, seed=seed).validation.sha256() for seed in (0, 1)]
    assert opened[0] != opened[1]


def test_a_composed_set_tells_the_notes_of_both(tmp_path: Path) -> None:
    front = write_folder(tmp_path / "front", {"a": 20, "b": 20})
    (front / "a" / "words.txt").write_text("")
    back = write_folder(tmp_path / "back", {"a": 20, "b": 20}, (6, 6, 3))
    (back / "a" / "more.gif").write_bytes(encoded(pictures(1)[0], "GIF"))
    notes = open_dataset(f"bg:folder:{front}/folder:{back}/0").notes
    assert "foreground: train: files were left out: 1 .txt" in notes
    assert "backgrounds: train: files were left out: 1 .gif" in notes
    assert "backgrounds: color images were made gray" in notes
    np.savez(tmp_path / "small.npz", images=np.stack(pictures(40)) // 16, labels=np.arange(40) % 2)
    notes = open_dataset(f"bg:npz:{tmp_path}/small.npz/folder:{back}/0").notes
    assert "foreground: 16 levels were stretched to 256" in notes
