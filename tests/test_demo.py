"""The demo, small: whole, taken up again, and failing with one sentence."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from condgen.demo import PRESETS, run_demo
from condgen.errors import CondgenError
from tests.conftest import TINY


def test_the_demo_reports_all_presets_and_goes_on_where_it_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = run_demo(tmp_path, TINY)
    text = page.read_text()
    assert all(preset in text for preset in PRESETS)
    printed = capsys.readouterr().out
    assert "Table 1" in printed
    assert all(preset in printed for preset in PRESETS)
    assert "Carlini-Wagner" in printed
    assert "knows detector: unnoticed %" in printed
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/checkpoint/last/state.toml")}
    assert run_demo(tmp_path, TINY) == page
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/checkpoint/last/state.toml")} == before


def test_a_run_that_fails_ends_the_demo_with_its_error(tmp_path: Path) -> None:
    with pytest.raises(CondgenError, match="fewer than one batch"):
        run_demo(tmp_path, (*TINY, "training.batch_size=5000"))
    assert not (tmp_path / "report").exists()


SCRIPT = """
import signal, sys
from pathlib import Path
from condgen.demo import run_demo
from tests.conftest import TINY
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
    run_demo(Path(sys.argv[1]), (*TINY, "training.epochs=2000"))
"""


def test_an_interrupt_ends_the_demo_and_begins_no_further_run(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    root = Path(__file__).parents[1]
    command = [sys.executable, tmp_path / "script.py", tmp_path / "demo"]
    with subprocess.Popen(command, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, start_new_session=True) as demo:
        for _ in range(600):
            if any(log.stat().st_size for log in tmp_path.glob("demo/runs/*/metrics.jsonl")):
                break
            time.sleep(0.1)
        os.killpg(demo.pid, signal.SIGINT)  # as a terminal does
        try:
            assert demo.wait(timeout=60) != 0
        finally:
            with suppress(ProcessLookupError):
                os.killpg(demo.pid, signal.SIGKILL)
    assert {path.name for path in tmp_path.glob("demo/runs/*")} <= {"digits-reweight", "digits-split"}
