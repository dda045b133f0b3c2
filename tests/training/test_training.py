"""The loop: reproducible, resumable, and it stops before a non-finite number does harm."""

import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from condgen import config
from condgen.builders import build_classifier
from condgen.classifier import GenerativeClassifier, Prediction
from condgen.config import load_preset
from condgen.data.augmentation import Augmentation
from condgen.data.catalogue import open_dataset
from condgen.errors import ConfigError, DataError, RunError
from condgen.models.gaussian import DiagonalGaussian
from condgen.runs import Run
from condgen.training import loop, progress
from condgen.training.checkpoints import Checkpoint, epochs_done, load_weights, newest
from condgen.training.loop import fit
from condgen.training.objectives import Likelihood, Reweight, Split
from condgen.training.optimiser import NonFiniteLoss, Optimiser
from tests.conftest import TINY

SETTINGS = config.Training(epochs=2, batch_size=64, learning_rate=1e-3, warm_up_steps=10)


def train(
    directory: Path, *, epochs: int = 2, resume: bool = False, seed: int = 0, objective=None, minutes: float | None = None
) -> dict[str, torch.Tensor]:
    splits = open_dataset("digits")
    classifier = build_classifier(load_preset("digits-reweight", TINY, seed), splits.train)
    fit(
        classifier,
        objective or Reweight(),
        splits.train.take(slice(0, 256)),
        splits.validation,
        settings=SETTINGS.model_copy(update={"epochs": epochs}),
        directory=str(directory),
        augmentation=Augmentation(crop_padding=1),
        seed=seed,
        resume=resume,
        minutes=minutes,
        quiet=True,
    )
    return Checkpoint.load(directory / "checkpoint" / "last").weights


def epochs_logged(directory: Path) -> list[int]:
    return [json.loads(line)["epoch"] for line in (directory / "metrics.jsonl").read_text().splitlines()]


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tmp_path: Path) -> None:
    first, again = train(tmp_path / "a"), train(tmp_path / "b")
    assert_same(first, again)
    other = train(tmp_path / "c", seed=1)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_resuming_ends_where_an_uninterrupted_run_does(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", epochs=3)
    train(tmp_path / "parts", epochs=1)
    assert_same(train(tmp_path / "parts", epochs=3, resume=True), whole)
    assert epochs_logged(tmp_path / "parts") == [1, 2, 3]


def test_pieces_of_no_time_train_an_epoch_each_and_end_where_an_uninterrupted_run_does(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", epochs=3)
    for done in (1, 2, 3):
        parts = train(tmp_path / "parts", epochs=3, minutes=0, resume=done > 1)
        assert epochs_logged(tmp_path / "parts") == list(range(1, done + 1))
    assert_same(parts, whole)


def test_no_epoch_is_begun_that_would_end_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 0.0, 100.0, 220.0])  # the start, and the beginnings of three epochs
    monkeypatch.setattr(loop.time, "monotonic", lambda: next(now))
    time_left = loop.TimeLeft(minutes=5)
    assert [time_left.for_another() for _ in range(3)] == [True, True, False]


def test_checkpoints_of_another_training_are_no_start_and_are_not_lost(tmp_path: Path) -> None:
    trained = train(tmp_path, epochs=1)
    with pytest.raises(RunError, match="holds checkpoints of another training"):
        train(tmp_path, epochs=1, seed=1)
    assert_same(Checkpoint.load(tmp_path / "checkpoint" / "last").weights, trained)


def test_a_run_stopped_in_its_first_epoch_starts_again(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", epochs=1)
    (tmp_path / "stopped").mkdir()
    (tmp_path / "stopped" / "metrics.jsonl").write_text('{"epo')
    assert_same(train(tmp_path / "stopped", epochs=1, resume=True), whole)
    assert epochs_logged(tmp_path / "stopped") == [1]


@pytest.mark.parametrize("lost", ["best", "best/weights.safetensors"])
def test_a_lost_best_checkpoint_does_not_stop_a_run(lost: str, tmp_path: Path) -> None:
    train(tmp_path, epochs=1)
    path = tmp_path / "checkpoint" / lost
    shutil.rmtree(path) if path.is_dir() else path.write_bytes(b"")
    train(tmp_path, epochs=2, resume=True)
    assert Checkpoint.load(tmp_path / "checkpoint" / "best").epoch == 2


def test_a_finished_run_whose_best_checkpoint_is_damaged_has_its_last_one(tmp_path: Path, capfd) -> None:
    trained = train(tmp_path, epochs=2)
    state = tmp_path / "checkpoint" / "best" / "state.toml"
    state.write_text(state.read_text().replace("loss", "lost"))
    assert_same(train(tmp_path, epochs=2, resume=True), Checkpoint.load(tmp_path / "checkpoint" / "last").weights)
    assert "The one after epoch 2 takes its place" in capfd.readouterr().err.replace("\n", " ")
    assert Checkpoint.load(tmp_path / "checkpoint" / "best").optimiser == {}
    assert_same(train(tmp_path, epochs=2, resume=True), trained)


def test_a_damaged_last_checkpoint_falls_back_to_the_one_before(tmp_path: Path) -> None:
    whole = train(tmp_path / "run", epochs=3)
    weights = tmp_path / "run" / "checkpoint" / "last" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    state, warning = newest(tmp_path / "run" / "checkpoint")
    assert state.epoch == 2
    assert "sha256 differs" in warning
    assert not weights.parent.exists()  # it would take the place of the previous one when the next is kept
    assert_same(train(tmp_path / "run", epochs=3, resume=True), whole)
    assert epochs_logged(tmp_path / "run") == [1, 2, 3]


def test_a_run_killed_between_two_renames_goes_on(tmp_path: Path) -> None:
    train(tmp_path, epochs=2)
    shutil.rmtree(tmp_path / "checkpoint" / "last")
    state, warning = newest(tmp_path / "checkpoint")
    assert state.epoch == 1
    assert "does not exist" in warning


class ExplodesAfter:
    """An objective that turns infinite after some calls."""

    def __init__(self, calls: int):
        self.calls = calls

    def __call__(self, prediction: Prediction, label: torch.Tensor) -> torch.Tensor:
        self.calls -= 1
        return Likelihood()(prediction, label) / (1.0 if self.calls >= 0 else 0.0)


def test_a_non_finite_loss_stops_with_the_last_good_checkpoint_kept(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteLoss, match=r"step 6\. The checkpoint of step 4 is kept\. Lower training\.learning_rate"):
        train(tmp_path, objective=ExplodesAfter(7))  # 4 training steps, 1 validation batch, 2 training steps
    kept = Checkpoint.load(tmp_path / "checkpoint" / "last")
    assert kept.step == 4
    assert all(torch.isfinite(tensor).all() for tensor in kept.weights.values())


def test_a_non_finite_validation_loss_keeps_the_checkpoint_before(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteLoss, match=r"validation loss is not finite after epoch 2\. The checkpoint of step 4 is kept"):
        train(tmp_path, objective=ExplodesAfter(9))  # 4 steps, 1 validation batch, 4 steps
    assert Checkpoint.load(tmp_path / "checkpoint" / "last").step == 4


def test_a_non_finite_gradient_touches_no_parameter() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimiser = Optimiser([("p", parameter)], SETTINGS, steps_per_epoch=1)
    with pytest.raises(NonFiniteLoss, match="gradient is not finite at step 0"):
        optimiser.step_on(parameter.sqrt().sum())
    assert parameter.item() == 0


def test_learning_rate_warms_up_and_decays_in_steps() -> None:
    settings = config.Training(learning_rate=1.0, warm_up_steps=4, decay=config.Decay(factor=0.1, every_epochs=2))
    optimiser = Optimiser([("p", torch.nn.Parameter(torch.zeros(1)))], settings, steps_per_epoch=5)
    rates = []
    for step in (0, 3, 9, 10, 20):
        optimiser.step = step
        rates.append(optimiser.learning_rate)
    assert rates == pytest.approx([0.25, 1.0, 1.0, 0.1, 0.01])


def test_more_images_than_a_batch_are_needed(tmp_path: Path) -> None:
    data = open_dataset("digits").train.take(slice(0, 10))
    classifier = GenerativeClassifier(DiagonalGaussian(torch.rand(10, 1, 8, 8)))
    with pytest.raises(DataError, match="10 training images, fewer than one batch of 64"):
        fit(classifier, Likelihood(), data, data, settings=SETTINGS, directory=tmp_path, quiet=True)


def test_images_to_choose_the_best_checkpoint_by_are_needed(tmp_path: Path) -> None:
    data = open_dataset("digits").train
    classifier = GenerativeClassifier(DiagonalGaussian(torch.rand(10, 1, 8, 8)))
    with pytest.raises(DataError, match="no validation images to choose the best checkpoint by; keep at least one"):
        fit(classifier, Likelihood(), data, data.take(slice(0, 0)), settings=SETTINGS, directory=tmp_path, quiet=True)
    assert not list(tmp_path.iterdir())


def test_the_split_objective_needs_a_subspace() -> None:
    prediction = Prediction(torch.zeros(1, 2), torch.tensor([0.5, 0.5]).log(), dims=4)
    with pytest.raises(ConfigError, match=r'needs a model with a class subspace; set model.prior = "split"'):
        Split(alpha=1.0)(prediction, torch.tensor([0]))


def test_reweight_is_likelihood_plus_weighted_cross_entropy() -> None:
    prediction = Prediction(torch.tensor([[-10.0, -12.0]]), torch.tensor([0.5, 0.5]).log(), dims=4)
    expected = 10 / 4 + 3 * math.log(1 + math.exp(-2))
    assert Reweight(alpha=3.0)(prediction, torch.tensor([0])).item() == pytest.approx(expected, rel=1e-6)


def test_weights_of_another_architecture_are_refused_by_name(tmp_path: Path) -> None:
    splits = open_dataset("digits")
    wide = build_classifier(load_preset("digits-reweight", [*TINY, "model.width=16"]), splits.train).density
    narrow = build_classifier(load_preset("digits-reweight", TINY), splits.train).density
    with pytest.raises(RunError, match=r"another architecture: 'flow\..*has shape \(16.*expects \(8"):
        load_weights(narrow, wide.state_dict(), tmp_path)


@pytest.mark.parametrize("left", [[], ["best"]], ids=["nothing", "best"])
def test_a_run_killed_while_its_first_checkpoint_was_kept_starts_again(left: list[str], tmp_path: Path) -> None:
    whole = train(tmp_path / "whole")
    train(tmp_path / "killed", epochs=1)
    for path in (tmp_path / "killed" / "checkpoint").iterdir():
        if path.name not in left:
            shutil.rmtree(path)
    assert_same(whole, train(tmp_path / "killed", resume=True))
    assert epochs_logged(tmp_path / "killed") == [1, 2]


def test_a_run_has_done_the_epochs_of_its_checkpoint_and_logs_them_all(trained: Run, tmp_path: Path) -> None:
    copied = Run.open(shutil.copytree(trained.path, tmp_path / "run"))
    lines = (copied.path / "metrics.jsonl").read_text().splitlines()
    shutil.rmtree(copied.path / "checkpoint" / "last")  # killed after the line of the second epoch, before its checkpoint
    assert (len(lines), copied.epochs_done) == (2, 1)
    assert epochs_done(tmp_path / "nothing") == 0


@pytest.mark.parametrize("epoch", ["'x'", "-1", "true"])
def test_a_checkpoint_with_no_count_of_epochs_is_damaged(epoch: str, tmp_path: Path) -> None:
    train(tmp_path, epochs=1)
    state = tmp_path / "checkpoint" / "last" / "state.toml"
    state.write_text(state.read_text().replace("epoch = 1", f"epoch = {epoch}"))
    with pytest.raises(RunError, match="is damaged"):
        train(tmp_path, resume=True)


def test_images_per_second_count_no_validation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]

    def after(seconds: float, call):
        def called(*arguments):
            clock[0] += seconds
            return call(*arguments)

        return called

    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(loop, "_train_epoch", after(2.0, loop._train_epoch))
    monkeypatch.setattr(loop, "validate", after(100.0, loop.validate))
    train(tmp_path, epochs=3)
    rates = [json.loads(line)["images_per_second"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rates == [128.0] * 3
