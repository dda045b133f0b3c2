"""Failures of the machine are one line that says what to do, and lose nothing."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from condgen import machine
from condgen.errors import TrainingError
from condgen.experiments.failures import audit_failures
from condgen.experiments.free_memory import free_memory
from tests.conftest import tiny_glow
from tests.training.small import assert_same, last, log

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's limits")


def script(name: str, *arguments: object) -> str:
    """The output of a script in tests/."""
    command = (sys.executable, "-m", f"tests.{name}", *map(str, arguments))
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=240, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((100, "digits-base", "training.batch_size=1024"), "training.accumulation=16"),
        ((250, "digits-pixelcnn", "training.batch_size=256"), 'model.memory="recompute"'),
    ],
)
def test_settings_that_are_advised_without_enough_memory_fit(
    arguments: tuple[object, ...], expected: str
) -> None:
    message, *options = script("starving", *arguments).splitlines()
    assert message.startswith("TrainingError: not enough memory: a step on ")
    assert expected in message
    assert len(options) >= 2
    assert all(option.endswith(" fits") for option in options), options


def same_training(first: Path, second: Path) -> None:
    assert_same(last(first).weights, last(second).weights)
    assert_same(last(first).training, last(second).training)


def test_a_full_disk_keeps_the_last_checkpoint_and_says_so(tmp_path: Path) -> None:
    optimizer, weights, resumed, of_log, size, resumed_log, audited = script(
        "filling", tmp_path
    ).split("\n")[:7]
    for message in (optimizer, weights):
        assert message.startswith(f"WriteError: {tmp_path}/parts/checkpoint/last cannot be written")
        assert "KiB are needed" in message
        assert message.endswith("The checkpoint of step 1 is kept; --resume continues there.")
    assert "The checkpoint of step 1 is kept; --resume continues there." in of_log
    assert int(size) == 100  # half a line
    assert not resumed
    assert not resumed_log
    same_training(tmp_path / "parts", tmp_path / "whole")
    same_training(tmp_path / "log", tmp_path / "whole")
    assert [line["epoch"] for line in log(tmp_path / "log")] == [1, 2]
    assert f"{tmp_path}/parts/records/adversarial/" in audited
    assert "Saved results are kept; the same command continues." in audited


def test_one_process_at_a_time_has_a_run_and_a_kill_leaves_no_lock(tmp_path: Path) -> None:
    training, trained, audit, audited = script("contending", tmp_path).splitlines()
    assert training == (
        f"RunError: {tmp_path}/parts is being trained by another process; wait for it, or choose"
        " another --run."
    )
    assert "the adversarial audit in" in audit
    assert "is being made by another process; wait for it." in audit
    assert trained == audited == "undisturbed, continued"
    same_training(tmp_path / "parts", tmp_path / "whole")


def test_deterministic_operations_give_the_same_weights_on_a_cpu(tmp_path: Path) -> None:
    lines = script("determining", tmp_path).splitlines()
    assert len(lines) == 8
    assert all(line.endswith(" equal") for line in lines), lines


def test_an_operation_without_a_deterministic_version_is_one_line() -> None:
    machine.prepare_device("cpu", deterministic=True)
    try:
        with (
            pytest.raises(TrainingError, match=r"put_ has no deterministic version.*leave out"),
            audit_failures(tiny_glow()),
        ):
            torch.zeros(3).put_(torch.tensor([0]), torch.ones(1))
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"proc/meminfo": "MemTotal: 9 kB\nMemAvailable:    400 kB\n"}, 400 << 10),
        (
            {
                "proc/meminfo": "MemAvailable:    400 kB\n",
                "proc/self/cgroup": "0::/job/step\n",
                "sys/fs/cgroup/job/memory.max": "5000\n",
                "sys/fs/cgroup/job/memory.current": "4000\n",
                "sys/fs/cgroup/job/memory.stat": "anon 1\ninactive_file 300\n",
                "sys/fs/cgroup/job/step/memory.max": "max\n",
                "sys/fs/cgroup/job/step/memory.current": "4000\n",
            },
            1300,
        ),
        (
            {
                "proc/self/cgroup": "5:devices:/\n4:memory:/a\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "900\n",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": "1000\n",
            },
            0,
        ),
        ({}, None),
    ],
)
def test_free_memory_is_the_least_that_a_limit_leaves(
    files: dict[str, str], expected: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr("condgen.experiments.free_memory.ROOT", tmp_path)
    assert free_memory(torch.device("cpu")) == expected
