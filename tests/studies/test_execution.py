"""Studies from the command line: complete, resumed, changed, failed, killed, interrupted."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from condgen.cli import main
from condgen.studies.execution import Options
from condgen.training.log import read_log
from tests.conftest import TINY
from tests.studies.pages import SWEEP, TWO, written

ROOT = Path(__file__).parents[2]
SET = [word for setting in TINY for word in ("--set", setting)]


def arguments(page: Path, *more: str) -> list[str]:
    out = page.parent / "out"
    return ["study", str(page), "--out", str(out), "--device", "cpu", "--threads", "1", *SET, *more]


def study(page: Path, *more: str) -> Result:
    return CliRunner().invoke(main, arguments(page, "--jobs", "1", *more))


def times(folder: Path) -> dict[Path, int]:
    """Modification times of checkpoints and records."""
    found = [*folder.rglob("checkpoint/last/state.toml"), *folder.rglob("records/*.json")]
    return {path: path.stat().st_mtime_ns for path in found}


def test_a_sweep_comes_to_its_end_and_a_second_call_only_reports(tmp_path: Path) -> None:
    page = written(tmp_path, SWEEP)
    first = study(page)
    assert first.exit_code == 0, first.output
    assert "8 of 8 steps to do" in first.output
    text = (tmp_path / "out/report/index.html").read_text()
    for words in (
        "Steps of the study",
        "A sweep",
        "Comparison with the paper",
        "85.78",
        "Accuracy against alpha",
        "What alpha does",
    ):
        assert words in text
    assert not list((tmp_path / "out/running").iterdir())
    before = times(tmp_path)
    assert len(before) == 4 + 4
    second = study(page)
    assert second.exit_code == 0
    assert "8 steps, all done." in second.output
    assert times(tmp_path) == before


def test_an_amended_page_runs_only_what_is_new(tmp_path: Path) -> None:
    study(written(tmp_path, SWEEP), "--only", "*alpha=0")
    before = times(tmp_path)
    assert len(before) == 2
    done = study(
        written(
            tmp_path,
            SWEEP.replace("seeds = [0, 1]", "seeds = [0]")
            .replace("10.0", "2.0")
            .replace("=10", "=2"),
        )
    )
    assert done.exit_code == 0, done.output
    assert "2 of 4 steps to do" in done.output
    after = times(tmp_path)
    assert {path: after[path] for path in before} == before
    assert len(after) == 4


def test_a_step_that_fails_is_listed_and_stops_no_other(tmp_path: Path) -> None:
    page = written(
        tmp_path,
        TWO + '[[runs]]\npresets = ["digits-split"]\nwith = { "training.batch_size" = 5000 }\n',
    )
    done = study(page)
    assert done.exit_code == 1
    assert "1 steps failed" in done.stderr
    assert "digits-split/training: " in done.stderr
    assert "fewer than one batch" in done.stderr
    assert len(times(tmp_path)) == 2 + 4
    assert "in build" in next((tmp_path / "out/failed").iterdir()).read_text()
    assert (tmp_path / "out/report/index.html").exists()


def test_without_time_the_plan_is_shown_and_nothing_begins(tmp_path: Path) -> None:
    done = study(written(tmp_path, TWO), "--minutes", "0")
    assert done.exit_code == 0
    assert "6 of 6 steps to do" in done.output
    assert "6 steps are left; the same command continues." in done.output
    assert not (tmp_path / "out/runs").exists()


def test_a_study_that_does_not_exist_is_one_line(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["study", "nothing", "--out", str(tmp_path)])
    assert done.exit_code == 2
    assert done.stderr.startswith("condgen: study 'nothing' is not known;")
    done = study(written(tmp_path, TWO), "--scheduler", "tcp://127.0.0.1:9")
    assert done.exit_code == 2
    assert "a Dask cluster runs one step per worker" in done.stderr


def test_each_step_has_its_share_of_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("condgen.machine.usable_cores", lambda: 8)
    assert Options(jobs=4).threads_of_a_step == 2
    assert (Options().local_jobs, Options().threads_of_a_step) == (8, 1)
    assert Options(jobs=100).threads_of_a_step == 1
    assert Options(jobs=4, threads=3).threads_of_a_step == 3
    assert Options(scheduler="tcp://there").threads_of_a_step is None


def begun(folder: Path, label: str) -> int | None:
    """The process that trains a run, after its first epoch."""
    log, note = folder / f"runs/{label}/metrics.jsonl", folder / f"running/{label}--training"
    try:
        return int(json.loads(note.read_text())["pid"]) if log.read_text() else None
    except OSError:
        return None


def wait_for(condition: Callable[[], object], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def epochs(folder: Path, label: str) -> list[int]:
    return [line["epoch"] for line in read_log(folder / f"runs/{label}")]


def called(page: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "condgen", *arguments(page, "--jobs", "2", *more)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, env=environment, text=True, stdout=pipe, stderr=pipe, start_new_session=True
    )


def test_a_killed_worker_takes_no_other_step_along(tmp_path: Path) -> None:
    page, out = written(tmp_path, TWO), tmp_path / "out"
    with called(page, "--set", "training.epochs=12") as call:
        wait_for(lambda: begun(out, "digits-base") and begun(out, "digits-reweight"))
        other = begun(out, "digits-reweight")
        os.kill(begun(out, "digits-base") or 0, signal.SIGKILL)
        wait_for(lambda: len(epochs(out, "digits-base")) == 12)
        # The other training was not restarted.
        assert begun(out, "digits-reweight") in (other, None)
        _, errors = call.communicate(timeout=300)
        assert call.returncode == 0, errors
    for label in ("digits-base", "digits-reweight"):
        assert epochs(out, label) == [*range(1, 13)]
        assert len(list((out / f"runs/{label}/records").glob("*.json"))) == 2


def test_an_interrupt_ends_all_workers_and_the_same_command_continues(tmp_path: Path) -> None:
    page, out = written(tmp_path, TWO), tmp_path / "out"
    with called(page, "--set", "training.epochs=400") as call:
        wait_for(lambda: begun(out, "digits-base") and begun(out, "digits-reweight"))
        worker = begun(out, "digits-base") or 0
        os.killpg(call.pid, signal.SIGINT)  # like Ctrl-C in a terminal
        _, errors = call.communicate(timeout=120)
        assert call.returncode == 130
        assert "The same command continues." in errors
        assert "Traceback" not in errors
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)
    assert len(epochs(out, "digits-base")) < 400
    plan = study(page, "--set", "training.epochs=400", "--minutes", "0").output
    assert "begun" in plan
