"""A trained run without its data: model, detector, and scores of image files."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from condgen import CondgenError, Run, experiments, load_preset, open_dataset
from condgen.classifier import predict
from condgen.config import Data, Images
from condgen.detectors import build_detector, score
from condgen.experiments import building, scoring
from condgen.experiments.scoring import Reader
from tests.cli.test_commands import condgen, refused
from tests.conftest import TINY
from tests.data.files import write_folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on digits, trained for two epochs and not audited."""
    return experiments.train(
        load_preset("digits-base", TINY), tmp_path_factory.mktemp("runs") / "digits", quiet=True
    )


@pytest.fixture
def no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*_: object, **__: object) -> None:
        raise AssertionError("the data was opened")

    monkeypatch.setattr(building, "open_dataset", lost)


def lines_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def stored(run: Run, number: int = 12) -> np.ndarray:
    """Test images with 8-bit values, as in PNG files."""
    return np.round(open_dataset("digits").test.images[:number, 0] * (255 / 16)).astype(np.uint8)


def test_a_run_is_used_without_its_data(run: Run, no_data: None, tmp_path: Path) -> None:
    classifier, detector = Run.open(run.path).classifier(), Run.open(run.path).detector()
    splits = open_dataset("digits")
    x, _ = splits.validation.batch(slice(None))
    assert not classifier.training
    again = build_detector(run.config.detector, classifier, splits)
    assert detector.threshold == again.threshold
    assert torch.equal(
        score(detector, predict(classifier, x)), score(again, predict(classifier, x))
    )
    assert condgen("sample", run.path, "--count", 1, "--out", tmp_path / "x.png")[0] == 0
    assert condgen("describe", run.path)[0] == 0
    status, out, _ = condgen("check", run.path)
    assert (status, "fail" in out) == (0, False)


@pytest.mark.parametrize("detector", ["typicality", "tests.toy:Entropy"])
def test_every_detector_is_kept(detector: str, tmp_path: Path) -> None:
    config = load_preset("digits-base", [*TINY, f"detector={detector}"])
    run = experiments.train(config, tmp_path / "run", quiet=True)
    splits, classifier, kept = open_dataset("digits"), run.classifier(), run.detector()
    again = build_detector(run.config.detector, classifier, splits)
    prediction = predict(classifier, splits.test.batch(slice(30))[0])
    assert type(kept) is type(again)
    assert torch.equal(score(kept, prediction), score(again, prediction))


def test_a_detector_of_other_settings_or_weights_is_not_used(run: Run) -> None:
    other = run.config.model_copy(
        update={"detector": load_preset("digits-base", ["detector.threshold=3.5"]).detector}
    )
    with pytest.raises(CondgenError, match="has no detector fitted with these settings"):
        type(run)(run.path, other).detector()


def test_scores_are_those_of_the_model(run: Run, no_data: None, tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for number, image in enumerate(stored(run)):
        Image.fromarray(image).save(
            tmp_path / "in" / ("deep" if number % 2 else "") / f"{number:02}.png"
        )
    (tmp_path / "in" / "notes.txt").write_text("x")
    assert condgen("score", run.path, tmp_path / "in", "--out", tmp_path / "scores.csv")[0] == 0
    lines = {Path(line["file"]).stem: line for line in lines_of(tmp_path / "scores.csv")}
    assert len(lines) == 12
    x, _ = open_dataset("digits").test.batch(slice(12))
    prediction, detector = predict(run.classifier(), x), run.detector()
    for number in range(12):
        line = lines[f"{number:02}"]
        assert line["class"] == str(int(prediction.label[number]))
        assert float(line["bits_per_dim"]) == pytest.approx(
            float(prediction.bits_per_dim[number]), rel=1e-5
        )
        assert float(line["posterior"]) == pytest.approx(
            float(prediction.log_posterior[number].exp().max()), rel=1e-4
        )
        assert (line["accepted"] == "yes") == (float(line["score"]) <= detector.threshold)
        assert line["changed"] == "rounded to 17 levels"
        assert line["error"] == ""


def test_what_cannot_be_read_is_a_line_and_what_was_done_is_said(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(stored(run)[0]).save(folder / "a.png")
    Image.fromarray(np.full((20, 30, 3), (200, 10, 10), np.uint8)).save(folder / "b.png")
    (folder / "c.png").write_bytes(b"\x89PNG no more")
    os.mkfifo(folder / "pipe.png")
    text = tmp_path / "text.txt"
    text.write_text("hello")
    done = experiments.score_files(
        run, [folder, text, folder / "pipe.png"], tmp_path / "scores.csv", quiet=True
    )
    a, b, c, t, pipe = lines_of(tmp_path / "scores.csv")
    assert (done.scored, done.unreadable, dict(done.left_out)) == (2, 3, {"not regular": 1})
    assert (a["error"], b["error"]) == ("", "")
    assert (
        b["changed"]
        == "were resized and cropped to 8x8; color was converted to gray; rounded to 17 levels"
    )
    assert "not a readable image" in c["error"]
    assert "not a readable image" in t["error"]
    assert "not a regular file" in pipe["error"]
    assert [line["class"] for line in (c, t, pipe)] == ["", "", ""]


def test_names_that_are_not_utf_8_are_written(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"in\xff")
    folder.mkdir()
    Image.fromarray(stored(run)[0]).save(folder / "[b] $x$.png")
    assert condgen("score", run.path, folder, "--out", tmp_path / "s.csv")[0] == 0
    assert lines_of(tmp_path / "s.csv")[0]["file"].endswith("in\\xff/[b] $x$.png")


def test_bad_calls_are_refused_before_the_work(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "there is no image in" in refused(
        "score", run.path, tmp_path / "empty", "--out", tmp_path / "s.csv"
    )
    assert "cannot be written" in refused("score", run.path, tmp_path / "empty", "--out", tmp_path)
    assert condgen("score", run.path, tmp_path / "nowhere", "--out", tmp_path / "s.csv")[0] == 2
    assert not (tmp_path / "s.csv").exists()


def test_memory_does_not_grow_with_the_number_of_files(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "AT_ONCE", 5)
    sizes = []

    def watched(classifier, x):
        sizes.append(len(x))
        return predict(classifier, x)

    monkeypatch.setattr(scoring, "predict", watched)
    for number, image in enumerate(stored(run)):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    experiments.score_files(run, [tmp_path], tmp_path / "s.csv", quiet=True)
    assert sizes == [5, 5, 2]


def test_images_are_decoded_as_in_training(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "scans", {"cat": 30, "dog": 30})
    assert root is None or root
    splits = open_dataset(f"folder:{tmp_path / 'scans'}", size=6)
    config = load_preset("digits-base", [f"data.name=folder:{tmp_path / 'scans'}", "data.size=6"])
    reader = Reader.of(config, building.images_of(splits))
    trained_on = {image.tobytes() for _, part in splits.items() for image in part.images}
    files = sorted((tmp_path / "scans").rglob("*.png"))
    assert files
    assert all(reader.read(path)[0].tobytes() in trained_on for path in files)


def test_digits_of_mnist_are_padded_as_in_training(tmp_path: Path) -> None:
    Image.fromarray(np.full((28, 28), 255, np.uint8)).save(tmp_path / "a.png")
    config = load_preset("mnist-base").model_copy(update={"data": Data(name="mnist")})
    pixels, _ = Reader.of(config, Images(shape=[1, 32, 32], classes=10, levels=256)).read(
        tmp_path / "a.png"
    )
    assert pixels.shape == (1, 32, 32)
    assert pixels[0, 2:30, 2:30].min() == 255
    assert pixels.sum() == 255 * 28 * 28
