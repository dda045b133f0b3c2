"""The training loop: reproducible, resumable at any step, stops at non-finite numbers."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from condgen.classifier import GenerativeClassifier, Prediction
from condgen.data.augmentation import Augmentation
from condgen.data.dataset import ImageDataset
from condgen.errors import DataError, RunError
from condgen.training import progress
from condgen.training.checkpoints import Checkpoint
from condgen.training.loader import Loader
from condgen.training.loop import fit_step
from condgen.training.maximum_likelihood import MaximumLikelihood
from condgen.training.objectives import Likelihood
from condgen.training.resuming import is_finished
from condgen.training.steps import NonFiniteLoss
from tests import killing
from tests.training.small import (
    SETTINGS,
    TrainedGaussian,
    assert_same,
    differ,
    epochs_logged,
    images,
    last,
    log,
    settings,
    step_of,
    train,
)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tmp_path: Path) -> None:
    first, again = train(tmp_path / "a"), train(tmp_path / "b")
    assert_same(first, again)
    assert differ(first, train(tmp_path / "c", seed=1))


def test_resuming_ends_where_an_uninterrupted_run_does(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", epochs=3)
    train(tmp_path / "parts", epochs=1)
    assert_same(train(tmp_path / "parts", epochs=3, resume=True), whole)
    assert epochs_logged(tmp_path / "parts") == [1, 2, 3]


def test_training_that_ends_inside_an_epoch_resumes_there(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", epochs=3)
    train(tmp_path / "parts", epochs=3, max_steps=2)
    assert (last(tmp_path / "parts").epoch, last(tmp_path / "parts").step) == (1, 2)
    train(tmp_path / "parts", epochs=3, max_steps=7, resume=True)
    assert [line["step"] for line in log(tmp_path / "parts")] == [4, 7]
    assert_same(train(tmp_path / "parts", epochs=3, resume=True), whole)
    assert [line["step"] for line in log(tmp_path / "parts")] == [4, 8, 12]


def test_a_training_is_finished_at_the_end_that_its_settings_name(tmp_path: Path) -> None:
    assert not is_finished(tmp_path / "checkpoint", SETTINGS)
    train(tmp_path, max_steps=6)
    assert is_finished(tmp_path / "checkpoint", settings(max_steps=6))
    assert not is_finished(tmp_path / "checkpoint", SETTINGS)  # the second epoch is incomplete
    train(tmp_path, resume=True)
    assert is_finished(tmp_path / "checkpoint", SETTINGS)
    assert not is_finished(tmp_path / "checkpoint", settings(epochs=3))


def without_times(directory: Path) -> list[dict[str, Any]]:
    timed = ("time", "seconds", "images_per_second")
    return [{key: line[key] for key in line if key not in timed} for line in log(directory)]


def test_pieces_of_no_time_take_a_step_each_and_end_where_an_uninterrupted_run_does(
    tmp_path: Path,
) -> None:
    whole = train(tmp_path / "whole", epochs=2)
    for call, taken in enumerate((1, 2, 3, 4, 4, 5, 6, 7, 8)):  # the fifth only validates
        train(tmp_path / "parts", epochs=2, minutes=0, resume=call > 0)
        assert last(tmp_path / "parts").step == taken
        assert len(log(tmp_path / "parts")) == (call > 3)
    assert not is_finished(tmp_path / "parts/checkpoint", SETTINGS)
    parts = train(tmp_path / "parts", epochs=2, resume=True)
    assert is_finished(tmp_path / "parts/checkpoint", SETTINGS)
    assert_same(parts, whole)
    assert without_times(tmp_path / "parts") == without_times(tmp_path / "whole")


def test_a_checkpoint_is_written_within_an_epoch(tmp_path: Path) -> None:
    class Dies(MaximumLikelihood):
        def step(self, *args: Any) -> dict[str, torch.Tensor]:
            if self.taken == 3:
                raise SystemError("killed")
            return super().step(*args)

    whole = train(tmp_path / "whole")
    dies = step_of()
    dies.__class__ = Dies
    with pytest.raises(SystemError):
        train(tmp_path / "parts", step=dies, checkpoint_minutes=1e-9)
    assert (last(tmp_path / "parts").epoch, last(tmp_path / "parts").step) == (0, 3)
    assert_same(train(tmp_path / "parts", resume=True), whole)
    assert without_times(tmp_path / "parts") == without_times(tmp_path / "whole")


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_a_signal_ends_training_after_its_step(
    number: signal.Signals, error: type[BaseException], tmp_path: Path
) -> None:
    class Signalled(MaximumLikelihood):
        def step(self, *args: Any) -> dict[str, torch.Tensor]:
            if self.taken == 1:
                signal.raise_signal(number)
            return super().step(*args)

    before = signal.getsignal(number)
    step = step_of()
    step.__class__ = Signalled
    with pytest.raises(error) as stopped:
        train(tmp_path, step=step)
    assert last(tmp_path).step == 2
    assert signal.getsignal(number) is before
    if number == signal.SIGTERM:
        assert stopped.value.code == 143


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_run_killed_at_random_moments_ends_where_an_uninterrupted_run_does(
    tmp_path: Path,
) -> None:
    assert killing.interrupted("train", tmp_path, 20) >= 10  # the others came after the end
    assert_same(last(tmp_path / "parts").weights, last(tmp_path / "whole").weights)
    assert_same(last(tmp_path / "parts").training, last(tmp_path / "whole").training)
    assert without_times(tmp_path / "parts") == without_times(tmp_path / "whole")
    left = {path.name for path in (tmp_path / "parts/checkpoint").iterdir()}
    assert left == {path.name for path in (tmp_path / "whole/checkpoint").iterdir()}


def test_checkpoints_of_another_training_are_no_start_and_are_not_lost(tmp_path: Path) -> None:
    trained = train(tmp_path, epochs=1)
    with pytest.raises(RunError, match="holds checkpoints of another training"):
        train(tmp_path, epochs=1, seed=1)
    assert_same(last(tmp_path).weights, trained)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"batch_size": 32}, r"training\.batch_size was 64, now 32"),
        ({"number": 200}, "images was 256, now 200"),
        ({"seed": 1}, "seed was 0, now 1"),
        ({"learning_rate": 0.1}, r"training\.learning_rate was 0\.001, now 0\.1"),
        (
            {"step": step_of(objective=Likelihood())},
            r"objective was Reweight\(alpha=1\.0\), now Likelihood\(\)",
        ),
        ({"average": 0.9}, r"training\.average was None, now 0\.9"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_training_resumes_only_as_it_began(
    change: dict[str, Any], named: str, tmp_path: Path
) -> None:
    trained = train(tmp_path, epochs=1)
    with pytest.raises(
        RunError, match=rf"another training run \({named}.*\); resume with the same settings"
    ):
        train(tmp_path, resume=True, **change)
    assert_same(last(tmp_path).weights, trained)


def test_a_run_stopped_in_its_first_epoch_starts_again(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", epochs=1)
    (tmp_path / "stopped").mkdir()
    (tmp_path / "stopped" / "metrics.jsonl").write_text('{"epo')
    assert_same(train(tmp_path / "stopped", epochs=1, resume=True), whole)
    assert epochs_logged(tmp_path / "stopped") == [1]


@pytest.mark.parametrize("left", [[], ["best"]], ids=["nothing", "best"])
def test_a_run_killed_while_its_first_checkpoint_was_kept_starts_again(
    left: list[str], tmp_path: Path
) -> None:
    whole = train(tmp_path / "whole")
    train(tmp_path / "killed", epochs=1)
    for path in (tmp_path / "killed" / "checkpoint").iterdir():
        if path.name not in left:
            shutil.rmtree(path)
    assert_same(whole, train(tmp_path / "killed", resume=True))
    assert epochs_logged(tmp_path / "killed") == [1, 2]


class ExplodesAfter:
    """An objective that is infinite after ``calls`` calls."""

    def __init__(self, calls: int):
        self.calls = calls

    def __call__(self, prediction: Prediction, label: torch.Tensor) -> torch.Tensor:
        self.calls -= 1
        return Likelihood()(prediction, label) / (1.0 if self.calls >= 0 else 0.0)


def test_a_non_finite_loss_stops_with_the_last_good_checkpoint_kept(tmp_path: Path) -> None:
    message = (
        r"step 6\. The checkpoint of step 4 is kept\. Lower training\.learning_rate, now 0\.001"
    )
    with pytest.raises(NonFiniteLoss, match=message):  # 4 steps, 1 validation batch, 2 steps
        train(tmp_path, step=step_of(objective=ExplodesAfter(7)))
    assert last(tmp_path).step == 4
    assert all(torch.isfinite(tensor).all() for tensor in last(tmp_path).weights.values())


def test_a_non_finite_validation_loss_keeps_the_checkpoint_before(tmp_path: Path) -> None:
    message = r"validation loss is not finite after epoch 2\. The checkpoint of step 4 is kept"
    with pytest.raises(NonFiniteLoss, match=message):  # 4 steps, 1 validation batch, 4 steps
        train(tmp_path, step=step_of(objective=ExplodesAfter(9)))
    assert last(tmp_path).step == 4


def test_a_non_finite_first_loss_says_that_nothing_is_kept(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteLoss, match=r"at step 0\. No checkpoint had been written yet\."):
        train(tmp_path, step=step_of(objective=ExplodesAfter(0)))


def test_more_images_than_a_batch_are_needed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="10 training images, fewer than one batch of 64"):
        train(tmp_path, step=step_of(), number=10)


def test_images_to_choose_the_best_checkpoint_by_are_needed(tmp_path: Path) -> None:
    none = images().take(slice(0, 0))
    with pytest.raises(
        DataError, match="no validation images to choose the best checkpoint by; keep at least one"
    ):
        fit_step(step_of(), images(), none, settings=SETTINGS, directory=tmp_path, quiet=True)
    assert not list(tmp_path.iterdir())


def test_the_best_checkpoint_is_the_one_with_the_lowest_monitored_metric(tmp_path: Path) -> None:
    class ByAccuracy(MaximumLikelihood):
        monitor = "errors"
        found = iter([0.5, 0.3, 0.4])

        def validate(self, data: ImageDataset, seed: int) -> dict[str, float]:
            return {"loss": 0.0, "errors": next(self.found)}

    classifier = GenerativeClassifier(TrainedGaussian())
    best = train(tmp_path, step=ByAccuracy(classifier, Likelihood(), SETTINGS, 4), epochs=3)
    kept = Checkpoint.load(tmp_path / "checkpoint" / "best")
    assert (kept.epoch, kept.metrics["errors"]) == (2, 0.3)
    assert torch.equal(classifier.density.mean, kept.weights["mean"])
    assert not torch.equal(best["mean"], kept.weights["mean"])


def test_a_batch_depends_on_its_epoch_and_number_alone() -> None:
    loader = Loader(images(), 64, Augmentation(crop_padding=2), seed=0)
    epoch = list(loader.epoch(1))
    rest = list(loader.epoch(1, first=2))
    assert (len(epoch), len(rest)) == (4, 2)
    assert all(
        torch.equal(mine[0], theirs[0]) for mine, theirs in zip(epoch[2:], rest, strict=True)
    )
    assert not torch.equal(epoch[0][0], next(loader.epoch(2))[0])


def test_each_step_has_a_random_stream_of_its_own_whatever_came_before(tmp_path: Path) -> None:
    class Drawing(MaximumLikelihood):
        def step(
            self, x: torch.Tensor, label: torch.Tensor, generator: torch.Generator
        ) -> dict[str, torch.Tensor]:
            drawn.append(torch.rand(1, generator=generator).item())
            return super().step(x, label, generator)

    def draws(name: str, **changes: Any) -> list[float]:
        drawn.clear()
        step = Drawing(GenerativeClassifier(TrainedGaussian()), Likelihood(), SETTINGS, 4)
        train(tmp_path / name, step=step, **changes)
        return list(drawn)

    drawn: list[float] = []
    whole = draws("whole")
    assert len(set(whole)) == 8
    assert draws("parts", max_steps=3) == whole[:3]
    assert draws("parts", resume=True) == whole[3:]
    assert not set(draws("other", seed=1)) & set(whole)


def test_the_log_has_means_the_largest_gradient_and_the_seconds_of_an_epoch(tmp_path: Path) -> None:
    class Counting(MaximumLikelihood):
        def step(self, *arguments: Any) -> dict[str, torch.Tensor]:
            super().step(*arguments)
            number = torch.tensor(float(self.taken))
            return {"loss": number, "gradient_norm": 10 - number}

    train(
        tmp_path, step=Counting(GenerativeClassifier(TrainedGaussian()), Likelihood(), SETTINGS, 4)
    )
    first, second = log(tmp_path)
    assert (first["loss"], second["loss"]) == (2.5, 6.5)
    assert (first["gradient_norm"], second["gradient_norm"]) == (9, 5)
    assert first["seconds"] > 0
    assert {"validation_loss", "validation_bits_per_dim", "validation_accuracy"} <= first.keys()


def test_images_per_second_count_no_validation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]

    def after(seconds: float, call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any) -> Any:
            clock[0] += seconds
            return call(*arguments)

        return called

    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(MaximumLikelihood, "step", after(0.5, MaximumLikelihood.step))
    monkeypatch.setattr(MaximumLikelihood, "validate", after(100.0, MaximumLikelihood.validate))
    train(tmp_path, epochs=3)
    assert [line["images_per_second"] for line in log(tmp_path)] == [128.0] * 3
