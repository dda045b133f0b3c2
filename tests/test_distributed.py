"""Several processes compute what one computes, stop together, and say which one was lost."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from condgen.cli import main as condgen
from condgen.registry import AUDITS
from condgen.runs import Run
from condgen.training.checkpoints import Checkpoint
from tests.conftest import TINY
from tests.distributed import RUNS

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of 1, 2 and 3 processes; all in one process tree, which imports PyTorch once."""
    path = tmp_path_factory.mktemp("distributed")
    command = (sys.executable, "-m", "tests.distributed", path)
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    return path


def codes(folder: Path, name: str) -> list[int]:
    found: list[int] = json.loads((folder / "codes.json").read_text())[name]
    return found


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("name", RUNS)
def test_the_losses_do_not_depend_on_the_number_of_processes(
    name: str, count: int, folder: Path
) -> None:
    assert codes(folder, f"train-{count}") == [0] * count
    alone, together = lines(folder / f"{name}-1"), lines(folder / f"{name}-{count}")
    assert len(alone) == len(together) > 0
    for expected, found in zip(alone, together, strict=True):
        for key in ("loss", "bits_per_dim", "validation_loss", "validation_bits_per_dim"):
            assert found[key] == pytest.approx(expected[key], abs=1e-5), key


@pytest.mark.parametrize("audit", AUDITS.names())
def test_records_do_not_depend_on_the_number_of_processes(audit: str, folder: Path) -> None:
    assert codes(folder, "audit-3") == [0, 0, 0]
    alone, together = (Run.open(folder / f"audited-{count}").record(audit) for count in (1, 3))
    assert alone.summary == together.summary
    assert alone.arrays.keys() == together.arrays.keys()
    for key, values in alone.arrays.items():
        np.testing.assert_array_equal(values, together.arrays[key], key)


def test_the_first_batch_initializes_equal_copies_as_in_one_process(folder: Path) -> None:
    assert codes(folder, "initialized") == [0, 0, 0]


def test_a_run_resumes_with_another_number_of_processes(folder: Path) -> None:
    assert codes(folder, "begin") == [0, 0]
    assert codes(folder, "resume") == [0, 0, 0]
    expected, found = (lines(folder / name)[-1] for name in ("flow-gan-1", "resumed"))
    assert found["processes"] == 3
    assert found["step"] == expected["step"] == 10
    assert found["validation_loss"] == pytest.approx(expected["validation_loss"], abs=1e-5)


def test_the_others_name_a_process_that_was_killed_and_leave_a_run_to_resume(
    folder: Path,
) -> None:
    assert codes(folder, "killed") == [2, -9, 2]
    assert "process 1 of 3 (" in (folder / "killed-0.txt").read_text()
    assert Run.open(folder / "killed").steps_done == 5  # two parts of a batch in each step


def test_a_signal_to_one_process_stops_all_after_the_same_step(folder: Path) -> None:
    assert codes(folder, "stopped") == [143, 143, 143]
    assert Checkpoint.load(folder / "stopped/checkpoint/last").step == 6


def test_all_processes_refuse_an_infinite_loss_of_one(folder: Path) -> None:
    assert codes(folder, "infinite") == [2, 2, 2]
    for number in range(3):
        said = (folder / f"infinite-{number}.txt").read_text()
        assert said.startswith("loss is not finite at step 5. The checkpoint of step 5 is kept.")


def test_a_parameter_without_gradient_is_named(folder: Path) -> None:
    assert codes(folder, "unused") == [2, 2]
    assert "does not depend on the parameter 'unused'" in (folder / "unused-0.txt").read_text()


def test_an_objective_that_cannot_be_shared_says_so(folder: Path) -> None:
    assert codes(folder, "closed form") == [2, 2]
    said = (folder / "closed-form-0.txt").read_text()
    assert said == "ClosedForm trains with one process only; start it without torchrun."


def test_what_one_process_measures_alone_waits_for_nobody(folder: Path) -> None:
    assert codes(folder, "memory") == [0, 0]


def test_torchrun_starts_the_command_line_and_a_signal_leaves_a_run_to_resume(
    tmp_path: Path,
) -> None:
    run, settings = tmp_path / "run", [word for each in TINY for word in ("--set", each)]
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2")
    command = ("-m", "condgen", "train", "digits-base", *settings, "--run-dir", str(run))
    long = ("--set", "training.epochs=100000", "--set", "training.checkpoint_minutes=1e-9")
    with subprocess.Popen(
        (*torchrun, *command, *long), stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as started:
        while started.poll() is None and not (run / "checkpoint/previous").exists():
            time.sleep(0.05)
        started.send_signal(signal.SIGTERM)
        _, said = started.communicate(timeout=60)
    assert said.count("condgen: stopped; saved files are complete. Add --resume to continue.") == 1
    stopped = Run.open(run)
    assert stopped.steps_done > 0
    with stopped.training():  # nobody holds the lock
        pass


@pytest.mark.parametrize("command", ["study", "report", "sample"])
def test_other_commands_refuse_torchrun(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"RANK": "1", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit, match="2"):
        condgen([command, "x"])
    assert (
        f"torchrun starts `condgen train` and `condgen audit`; run `condgen {command}` alone"
        in (capsys.readouterr().err)
    )
