"""`condgen runs` and `condgen watch`, with a real process that holds the lock of a run."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from condgen.cli import main, watching
from condgen.reports.run_status import picture
from condgen.runs import Run
from condgen.runs.listing import status_of
from tests.conftest import TINY
from tests.runs.test_listing import held


def condgen(*words: object, **environment: str) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words], env=environment)


@pytest.fixture
def folder(copied: Run, tmp_path: Path) -> Path:
    """A finished run, and a damaged one in a folder below."""
    damaged = Path(shutil.copytree(copied.path, tmp_path / "study/runs/[b]"))
    (damaged / "metrics.jsonl").write_text("{}x\n")
    return tmp_path


def test_runs_are_listed_with_state_progress_and_metrics(folder: Path) -> None:
    done = condgen("runs", folder)
    assert done.exit_code == 0, done.output
    found = status_of(folder / "run")
    row = next(line.split() for line in done.output.splitlines() if " done " in line)
    numbers = [f"{100 * found.accuracy:.1f}", f"{found.bits_per_dim:.3f}", str(len(found.audits))]
    assert row == ["run", "done", "2/2", "38/38", *numbers]
    assert re.search(r"study/runs/\[b\] +damaged", done.output)
    assert re.search(r"study/runs/\[b\]: .*metrics.jsonl is damaged \(line 1: ", done.output)


def test_scripts_get_a_line_of_json_for_each_run(folder: Path) -> None:
    lines = [json.loads(line) for line in condgen("runs", folder, "--json").output.splitlines()]
    assert [line["state"] for line in lines] == ["done", "damaged"]
    assert [Path(line["path"]).name for line in lines] == ["run", "[b]"]
    assert lines[0]["accuracy"] == status_of(folder / "run").accuracy
    assert lines[0]["audits"] == list(status_of(folder / "run").audits)


def test_folders_without_runs(tmp_path: Path) -> None:
    done = condgen("runs", tmp_path)
    assert (done.exit_code, "has no runs; `condgen train" in done.output) == (0, True)
    assert condgen("runs", tmp_path, "--json").output == ""
    for command in ("runs", "watch"):
        done = condgen(command, tmp_path / "nothing")
        assert done.exit_code == 2
        assert done.stderr.startswith(f"condgen: {tmp_path / 'nothing'} is not a ")


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (50, 20)])
def test_a_picture_fits_the_terminal(width: int, height: int, copied: Run) -> None:
    drawn = condgen("watch", copied.path, COLUMNS=str(width), LINES=str(height)).output.splitlines()
    assert len(drawn) < height
    assert all(len(line) <= width for line in drawn)
    words = " ".join("\n".join(drawn).split())
    assert "done · epoch 2 of 2 · step 38 of 38 (100%) · best" in words
    assert "bits/dim train" in words
    assert re.search("[\u2801-\u28ff]", words)


def test_watching_ends_with_the_training(copied: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with held(copied.path) as process:
        assert "running" in condgen("watch", copied.path, "--once").output
        naps = []

        def sleep(seconds: float) -> None:
            naps.append(seconds)
            if len(naps) == 2:
                process.kill()
                process.wait()

        monkeypatch.setattr(watching.time, "sleep", sleep)
        done = condgen("watch", copied.path, FORCE_COLOR="1")
    assert (done.exit_code, len(naps)) == (0, 2)
    assert re.findall("running|stopped|done", done.output)[-1] == "done"


def test_an_interrupt_ends_watching(copied: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(watching.time, "sleep", interrupted)
    with held(copied.path):
        done = condgen("watch", copied.path, FORCE_COLOR="1")
    assert done.exit_code == 0
    assert "stopped" not in done.stderr


def test_a_run_without_an_epoch_and_a_damaged_one_have_a_sentence(copied: Run) -> None:
    def words() -> str:
        console = Console(width=200)
        with console.capture() as captured:
            console.print(picture(copied.path, 80, 24)[1])
        return captured.get()

    log = copied.path / "metrics.jsonl"
    log.write_text("{}x\n")
    assert "damaged · " in words()
    log.unlink()
    shutil.rmtree(copied.path / "checkpoint")
    assert "No epoch is done, and no checkpoint is written yet." in words()


def test_events_for_tensorboard_are_an_option(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    run = tmp_path / "run"
    settings = [word for setting in (*TINY, "training.epochs=1") for word in ("--set", setting)]
    train = ("train", "digits-base", *settings, "--run", run, "--threads", 1, "--tensorboard")
    done = condgen(*train, "--minutes", 0)
    assert done.output.rstrip().endswith("--tensorboard --resume")
    assert condgen(*train, "--resume").exit_code == 0
    assert [path.name[:6] for path in (run / "tensorboard").iterdir()] == ["events"]


def test_without_tensorboard_nothing_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    done = condgen("train", "digits-base", "--run", tmp_path / "run", "--tensorboard")
    assert done.exit_code == 2
    assert done.stderr.startswith("condgen: TensorBoard cannot be imported (")
    assert "pip install 'condgen[tensorboard]'" in done.stderr
    assert not (tmp_path / "run").exists()
