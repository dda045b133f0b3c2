"""A study on a local Dask cluster: a scheduler and two workers, one of which is killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from click.testing import CliRunner

from condgen.cli import main
from condgen.studies.workers import _check_workers
from tests.conftest import TINY
from tests.studies.pages import TWO, written
from tests.studies.test_execution import ROOT, begun, epochs, wait_for

pytest.importorskip("distributed")

SET = [word for setting in (*TINY, "training.epochs=25") for word in ("--set", setting)]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[list[str]]:
    """Options for a scheduler with two workers, each in its own process group."""
    file = tmp_path / "scheduler.json"
    scheduler = ["scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file)]
    worker = [
        "worker",
        "--host",
        "127.0.0.1",
        "--nthreads",
        "1",
        "--scheduler-file",
        str(file),
        "--no-dashboard",
    ]
    worker += ["--local-directory", str(tmp_path / "scratch")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with ExitStack() as processes, (tmp_path / "cluster.log").open("w") as log:
        for arguments in ([*scheduler, "--no-dashboard"], worker, worker):
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", *arguments],
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            processes.callback(process.wait, 30)
            processes.callback(end, process.pid)
        wait_for(file.exists)
        yield ["--scheduler", address_in(file)]


def address_in(file: Path) -> str:
    import json

    return str(json.loads(file.read_text())["address"])


def end(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def test_a_study_is_complete_although_a_worker_of_the_cluster_is_killed(
    cluster: list[str], tmp_path: Path
) -> None:
    page, out = written(tmp_path, TWO), tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "condgen",
        "study",
        str(page),
        "--out",
        str(out),
        "--device",
        "cpu",
    ]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*command, "--threads", "1", *cluster, *SET], cwd=ROOT, text=True, stdout=pipe, stderr=pipe
    ) as call:
        wait_for(lambda: begun(out, "digits-base") and begun(out, "digits-reweight"))
        killed, other = begun(out, "digits-base") or 0, begun(out, "digits-reweight") or 0
        assert os.getpgid(killed) not in (os.getpgid(other), os.getpgid(0))
        os.killpg(os.getpgid(killed), signal.SIGKILL)
        written_out, errors = call.communicate(timeout=600)
        assert call.returncode == 0, errors
    assert "6 of 6 steps to do" in written_out
    for label in ("digits-base", "digits-reweight"):
        assert epochs(out, label) == [*range(1, 26)]
        assert len(list((out / f"runs/{label}/records").glob("*.json"))) == 2
    assert (out / "report/index.html").exists()


def test_a_scheduler_that_is_not_there_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = written(tmp_path, TWO)
    script = (
        "import sys; from condgen.studies import workers\n"
        "with workers.dask_workers('tcp://127.0.0.1:1', seconds=1): pass"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert "ConfigError: no Dask scheduler answers at tcp://127.0.0.1:1" in done.stderr
    monkeypatch.setitem(sys.modules, "distributed", None)
    said = CliRunner().invoke(
        main,
        ["study", str(page), "--out", str(tmp_path / "out"), "--scheduler", "tcp://127.0.0.1:1"],
    )
    assert said.exit_code == 2
    assert "pip install condgen[dask]" in said.stderr


def test_workers_that_would_take_several_steps_at_a_time_are_refused() -> None:
    with pytest.raises(ValueError, match="--nworkers 4 --nthreads 1"):
        _check_workers({"tcp://1": 1, "tcp://2": 4})
