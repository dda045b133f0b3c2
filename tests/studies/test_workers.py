"""Local workers: the death of one leaves the others running; none outlives its parent."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from condgen.studies.workers import LocalWorkers, WorkerDied


def note_then_sleep(path: str, seconds: float) -> int:
    """Append the process id to a file, then sleep."""
    with Path(path).open("a") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(seconds)
    return os.getpid()


def die(path: str, lives: int) -> str:
    """Kill this process in the first ``lives`` calls."""
    with Path(path).open("a") as file:
        file.write("begun\n")
    if len(Path(path).read_text().splitlines()) <= lives:
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


def fail() -> None:
    raise ValueError("wrong")


@pytest.fixture
def workers() -> Iterator[LocalWorkers]:
    pool = LocalWorkers(2)
    yield pool
    pool.shutdown(wait=False)


def until(condition, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_work_of_a_worker_that_dies_is_done_again_and_the_others_continue(
    workers: LocalWorkers, tmp_path: Path
) -> None:
    log, other = str(tmp_path / "dies"), str(tmp_path / "lives")
    lives = workers.submit(note_then_sleep, other, 2)
    dies = workers.submit(die, log, 1)
    assert dies.result(120) == "done"
    assert Path(log).read_text().splitlines() == ["begun", "begun"]
    # Started once, in the process that finished it.
    assert Path(other).read_text().splitlines() == [str(lives.result(120))]


def test_work_that_kills_two_workers_fails_with_the_reason(
    workers: LocalWorkers, tmp_path: Path
) -> None:
    with pytest.raises(WorkerDied, match="killed by signal 9"):
        workers.submit(die, str(tmp_path / "log"), 99).result(120)
    assert len((tmp_path / "log").read_text().splitlines()) == 2
    assert workers.submit(die, str(tmp_path / "next"), 0).result(120) == "done"


def test_an_error_of_the_work_is_no_death(workers: LocalWorkers, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="ValueError: wrong"):
        workers.submit(fail).result(120)


def test_an_end_without_waiting_ends_what_runs(workers: LocalWorkers, tmp_path: Path) -> None:
    log = tmp_path / "log"
    running = [workers.submit(note_then_sleep, str(log), 600) for _ in range(3)]
    until(lambda: log.exists() and len(log.read_text().splitlines()) == 2)
    start = time.monotonic()
    workers.shutdown(wait=False)
    assert time.monotonic() - start < 5
    assert all(future.done() for future in running)
    assert not any(alive(int(pid)) for pid in log.read_text().split())


SCRIPT = """
import sys
from condgen.studies.workers import LocalWorkers
from tests.studies.test_workers import note_then_sleep
if __name__ == "__main__":
    LocalWorkers(1).submit(note_then_sleep, sys.argv[1], 600).result()
"""


def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    root, log = Path(__file__).parents[2], tmp_path / "log"
    environment = {**os.environ, "PYTHONPATH": str(root)}
    with subprocess.Popen(
        [sys.executable, tmp_path / "script.py", log], cwd=root, env=environment
    ) as parent:
        until(lambda: log.exists() and log.read_text().strip())
        worker = int(log.read_text())
        assert alive(worker)
        parent.kill()
    until(lambda: not alive(worker), seconds=30)
