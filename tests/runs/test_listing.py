"""States of runs: running, stopped, done and damaged, without a tensor read or a byte written."""

import fcntl
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from condgen import experiments
from condgen.config import load_preset
from condgen.errors import RunError
from condgen.runs import Run, listing
from condgen.runs.listing import find_runs, partial_epoch, status_of
from condgen.runs.run import LOCK
from condgen.training.checkpoints import Checkpoint
from condgen.training.log import LOG, MetricsFile, read_log
from tests.conftest import TINY

HOLD = """
import sys
from pathlib import Path
from condgen.files import locked
with locked(Path(sys.argv[1]), "busy"):
    print("held", flush=True)
    sys.stdin.read()
"""
PER_EPOCH = 19  # steps of a preset for digits


@contextmanager
def held(path: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process that holds the training lock of a run."""
    command = [sys.executable, "-c", HOLD, str(path / LOCK)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.fixture(scope="module")
def one_step(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one step."""
    path = tmp_path_factory.mktemp("stopped") / "run"
    experiments.train(load_preset("digits-reweight", TINY), path, minutes=0, quiet=True)
    return path


@pytest.fixture
def begun(one_step: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(one_step, tmp_path / "begun"))


def contents(path: Path) -> dict[Path, tuple[int, bytes]]:
    files = [file for file in path.rglob("*") if file.is_file()]
    return {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in files}


def test_a_finished_run_has_the_metrics_of_its_best_checkpoint_and_is_left_alone(
    copied: Run,
) -> None:
    (copied.path / LOCK).unlink()
    before = contents(copied.path)
    status = status_of(copied.path)
    assert contents(copied.path) == before
    best = Checkpoint.load(copied.best).metrics
    assert (status.state, status.reason, status.seconds_left) == ("done", "", None)
    assert (status.epoch, status.epochs) == (2, 2)
    assert (status.step, status.steps) == (2 * PER_EPOCH, 2 * PER_EPOCH)
    assert (status.accuracy, status.bits_per_dim) == (best["accuracy"], best["bits_per_dim"])
    assert list(status.audits) == copied.audits_made()


def test_a_run_is_running_while_a_living_process_holds_its_lock(begun: Path) -> None:
    assert status_of(begun).state == "stopped"
    with held(begun) as process:
        assert status_of(begun).state == "running"
        assert status_of(begun).state == "running"
        process.kill()
        process.wait()
        status = status_of(begun)
    assert (status.state, status.epoch, status.step) == ("stopped", 0, 1)
    assert status.accuracy is None
    progress = Checkpoint.load(begun / "checkpoint/last").progress
    assert status.seconds_left == pytest.approx((2 * PER_EPOCH - 1) * progress["seconds"])


def test_looking_at_a_run_does_not_keep_it_from_being_trained(begun: Path) -> None:
    run = Run.open(begun)
    with run.training():
        assert status_of(begun).state == "running"
    look = (begun / LOCK).open("rb")
    fcntl.flock(look, fcntl.LOCK_SH)  # as is_locked does, for microseconds
    threading.Timer(0.05, look.close).start()
    with run.training():
        pass


def test_the_metrics_of_an_unfinished_epoch_come_from_its_checkpoint(begun: Path) -> None:
    progress = Checkpoint.load(begun / "checkpoint/last").progress
    sums = dict(zip(progress["names"], progress["sums"], strict=True))
    found = partial_epoch(begun, read_log(begun))
    assert found == {"step": 1, **sums}
    assert partial_epoch(begun, [{"epoch": 1, "step": 1}]) == {}


def test_time_left_is_that_of_the_last_epochs(copied: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run without checkpoints, as its log alone describes it."""
    shutil.rmtree(copied.path / "checkpoint")
    training = copied.config.training.model_copy(update={"epochs": 10})
    run = copied.with_config(copied.config.model_copy(update={"training": training}))
    log = MetricsFile(run.path)
    for epoch, seconds in enumerate((1000.0, 38.0, 19.0, 38.0, 57.0, 38.0), 1):
        line = {"epoch": epoch, "seconds": seconds, "validation_loss": abs(3.0 - epoch)}
        log.log({**line, "validation_accuracy": epoch / 10}, epoch * PER_EPOCH)
    status = status_of(run.path)
    assert (status.state, status.epoch, status.step) == ("stopped", 6, 6 * PER_EPOCH)
    assert status.seconds_left == pytest.approx(4 * 38)  # 2 seconds per step in the median
    assert status.accuracy == 0.3  # of the epoch with the lowest loss
    logged = read_log(run.path)[-1]["time"]
    monkeypatch.setattr(listing.time, "time", lambda: logged + 7)
    with run.training():
        assert status_of(run.path).seconds_left == pytest.approx(4 * 38 - 7)


def test_a_published_run_without_checkpoints_is_done_by_its_log(copied: Run) -> None:
    whole = status_of(copied.path)
    shutil.rmtree(copied.path / "checkpoint")
    published = status_of(copied.path)
    assert (published.state, published.epoch, published.step) == ("done", whole.epoch, whole.step)
    assert published.bits_per_dim == pytest.approx(whole.bits_per_dim)


@pytest.mark.parametrize(
    "file", ["config.toml", LOG, "checkpoint/last/state.toml", "checkpoint/best/state.toml"]
)
def test_a_damaged_file_is_named(file: str, copied: Run) -> None:
    path = copied.path / file
    path.write_text(path.read_text().replace("1", "7"))
    status = status_of(copied.path)
    assert (status.state, status.accuracy) == ("damaged", None)
    assert str(path if path.suffix == ".jsonl" or path.parent == copied.path else path.parent) in (
        status.reason
    )
    assert "sha256 differs" in status.reason
    assert "\n" not in status.reason


def test_the_checkpoint_before_counts_while_the_last_one_is_saved(copied: Run) -> None:
    shutil.rmtree(copied.path / "checkpoint/last")
    status = status_of(copied.path)
    assert (status.state, status.epoch, status.step) == ("stopped", 1, PER_EPOCH)


def test_runs_are_found_in_folders_of_folders(copied: Run, tmp_path: Path) -> None:
    for place in ("study/runs/b", "study/runs/a", ".hidden/run"):
        shutil.copytree(copied.path, tmp_path / place)
    (copied.path / "records/config.toml").write_text("")  # within a run
    found = [str(path.relative_to(tmp_path)) for path in find_runs(tmp_path)]
    assert found == ["run", "study/runs/a", "study/runs/b"]
    assert find_runs(copied.path) == [copied.path]
    with pytest.raises(RunError, match="is not a folder; give the folder that holds your runs"):
        find_runs(tmp_path / "nothing")
