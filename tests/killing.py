"""Runs a task once uninterrupted, and once with kills at random moments: TASK DIRECTORY KILLS.

Moments are counted in changes of the directory, so that kills hit all parts of the task on a busy
machine, too. Forks share one import of PyTorch, so that a kill costs a fraction of a second.
"""

import math
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import tests.preloaded  # noqa: F401
from condgen import experiments, machine
from condgen.audits.adversarial import budgets, run_attacks
from condgen.audits.adversarial.shards import Arrays, Shards
from condgen.cli import main as condgen
from condgen.config import load_preset
from condgen.runs import Run
from condgen.studies import estimates, workers
from tests.conftest import TINY

ROOT = Path(__file__).parents[1]
SETTINGS = (*TINY, "training.average=0.9", "training.checkpoint_minutes=1e-4")
PAGE = """
title = "Two models"

[[runs]]
presets = ["digits-base", "digits-reweight"]
audits = ["classification", "interpolation"]
"""
COMPUTED = "computed.txt"  # the shards of attacks whose computation began


Task = Callable[[Path], None]


def train(path: Path) -> None:
    config = load_preset("digits-reweight", [*SETTINGS, "objective.ramp=0.5"])
    experiments.train(config, path, resume=path.exists(), quiet=True)


def audit(path: Path) -> None:
    """Attack a few images of the run, in shards of one image; notes the shards that it computes."""
    get = Shards.get

    def noting(self: Shards, name: str, compute: Callable[[], Arrays], *rest: object) -> Arrays:
        def noted() -> Arrays:
            with (path / COMPUTED).open("a") as file:
                file.write(f"{name}\n")
            return compute()

        return get(self, name, noted, *rest)

    Shards.get = noting
    run_attacks.SHARD = 1
    budgets.BUDGETS["smoke"] = budgets.Budget(
        2, searches=1, steps=2, walk=2, queries=20, examined=1
    )
    overrides = ["audit.adversarial.attacked=2"]
    experiments.audit(Run.open(path), ["adversarial"], overrides=overrides, quiet=True)


def study(path: Path) -> None:
    """Run a study in two worker processes, which are forks as well."""
    begin, one_at_a_time = workers._Worker._start, threading.Lock()

    def begin_alone(worker: workers._Worker) -> None:
        with one_at_a_time:  # else both forks keep the other one's connection to its parent open
            begin(worker)

    workers._Worker._start = begin_alone
    workers.SPAWN = multiprocessing.get_context("fork")
    estimates.time_a_step = lambda *_: (0.01, 19)
    path.mkdir(exist_ok=True)
    (path / "study.toml").write_text(PAGE)
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    condgen(["study", str(path / "study.toml"), "--out", str(path), "--jobs", "2", *settings])


TASKS: dict[str, Task] = {"train": train, "audit": audit, "study": study}


def interrupted(task: str, directory: Path, kills: int) -> int:
    """Run a task in ``directory/whole``, and with kills in ``directory/parts``.

    Returns:
        The number of kills that came before the end.
    """
    command = (sys.executable, "-m", "tests.killing", task, directory, str(kills))
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=240, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def main() -> None:
    task, directory, kills = TASKS[sys.argv[1]], Path(sys.argv[2]), int(sys.argv[3])
    whole, parts = directory / "whole", directory / "parts"
    if task is audit:
        experiments.train(load_preset("digits-gaussian"), whole, quiet=True)
        shutil.copytree(whole, parts)
    start = time.monotonic()
    _, changes = killed(task, whole)
    between = (time.monotonic() - start) / changes
    draw, survived, running = random.Random(0), 0, True
    while running and survived < kills:
        after, delay = draw.randint(0, 2 * changes // kills), draw.uniform(0, between)
        running, _ = killed(task, parts, after, delay, alone=draw.random() < 0.5)
        survived += running
    print(survived)
    while running:
        running, _ = killed(task, parts)


def killed(
    task: Task, path: Path, changes: float = math.inf, delay: float = 0.0, *, alone: bool = True
) -> tuple[bool, int]:
    """Run a task in a process that is killed ``delay`` seconds after so many changes of ``path``.

    Its worker processes are killed with it; with ``alone`` they find out that it has ended.

    Returns:
        Whether it was still running, and the number of changes.
    """
    last, lives = os.pipe()  # at its end when the process and its workers have ended
    child = os.fork()
    if not child:
        _run(task, path)
    os.setpgid(child, child)
    os.close(lives)
    seen, found = 0, _times(path)
    ended, status = os.waitpid(child, os.WNOHANG)
    while not ended and seen < changes:
        time.sleep(0.005)
        before, found = found, _times(path)
        seen += found != before
        ended, status = os.waitpid(child, os.WNOHANG)
    if not ended:
        time.sleep(delay)
        (os.kill if alone else os.killpg)(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    os.read(last, 1)
    os.close(last)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise SystemExit(f"the task failed with exit status {os.WEXITSTATUS(status)}")
    return os.WIFSIGNALED(status), seen


def _run(task: Task, path: Path) -> NoReturn:
    """Run a task in this process, and end it."""
    code = 1
    try:
        os.dup2(2, 1)  # the standard output is for the number of kills
        machine.prepare(1)
        task(path)
        code = 0
    except SystemExit as error:
        code = int(error.code or 0)
    finally:
        os._exit(code)


def _times(path: Path) -> dict[str, int]:
    """When the folders in ``path`` were changed, which a renamed file changes."""
    found = {}
    for folder, _, _ in os.walk(path):
        with suppress(OSError):  # a temporary folder
            found[folder] = Path(folder).stat().st_mtime_ns
    return found


if __name__ == "__main__":
    main()
