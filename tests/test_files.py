"""Atomic writes under errors, interrupts and kills."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from condgen import files
from condgen.errors import CondgenError, RunError
from condgen.files import atomic_write, check_writable, is_locked, locked


def dead_process() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        return ended.pid


def work_folder(parent: Path, pid: int, place: str = "") -> Path:
    work = parent / f".condgen-{place or files._place()}-{pid}-abcd_123"
    work.mkdir()
    return work


def write_directory(path: Path, text: str) -> None:
    with atomic_write(path, replace_directory=True) as work:
        work.mkdir()
        (work / "a").write_text(text)


@pytest.mark.parametrize("interrupted", ["first", "second"])
def test_an_interrupt_between_the_renames_keeps_what_was_there(
    interrupted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_directory(tmp_path / "best", "old")
    rename, replace = Path.rename, Path.replace

    def rename_and_stop(self: Path, target: Path) -> Path:
        done = rename(self, target)
        if interrupted == "first" and "replaced" in str(target):
            raise KeyboardInterrupt
        return done

    def stop(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", rename_and_stop)
    if interrupted == "second":
        monkeypatch.setattr(Path, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        write_directory(tmp_path / "best", "new")
    monkeypatch.setattr(Path, "rename", rename)
    monkeypatch.setattr(Path, "replace", replace)
    assert (tmp_path / "best" / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


def test_what_killed_writers_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    (work_folder(tmp_path, dead_process()) / "half").write_text("...")
    running = work_folder(tmp_path, os.getpid())
    elsewhere = work_folder(tmp_path, dead_process(), "01234567")
    old = work_folder(tmp_path, dead_process(), "76543210")
    os.utime(old, (0, time.time() - 2 * files.OLD))
    own = tmp_path / ".condgen-notes"
    own.mkdir()
    with atomic_write(tmp_path / "file") as work:
        work.write_text("x")
    assert {path.name for path in tmp_path.iterdir()} == {
        "file",
        running.name,
        elsewhere.name,
        own.name,
    }


KILLED = """
import os, signal, sys
from pathlib import Path
from condgen.files import atomic_write
rename = Path.rename
def killed(self, target):
    rename(self, target)
    os.kill(os.getpid(), signal.SIGKILL)
Path.rename = killed
with atomic_write(Path(sys.argv[1]), replace_directory=True) as work:
    work.mkdir()
"""


def test_a_kill_between_the_renames_is_undone_by_the_next_look(tmp_path: Path) -> None:
    write_directory(tmp_path / "best", "old")
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "best")], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "best").exists()
    files.tidy(tmp_path)
    assert (tmp_path / "best" / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


def test_content_is_on_the_disk_before_it_is_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    sync, move = os.fsync, files._move
    monkeypatch.setattr(os, "fsync", lambda number: (seen.append("sync"), sync(number))[1])
    monkeypatch.setattr(files, "_move", lambda *given: (seen.append("move"), move(*given))[1])
    write_directory(tmp_path / "d", "x")
    assert seen.index("move") >= 1
    assert seen[-1] == "sync"


def test_a_directory_that_another_process_made_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    def write() -> None:
        with atomic_write(tmp_path / "run") as work:
            work.mkdir()
            (tmp_path / "run").mkdir()
            (tmp_path / "run" / "config.toml").write_text("theirs")

    with pytest.raises(CondgenError, match="a folder of that name is in the way"):
        write()
    assert (tmp_path / "run" / "config.toml").read_text() == "theirs"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_place_that_cannot_be_written_is_refused_before_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    check_writable(tmp_path / "a" / "b" / "c.png")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    for bad in (tmp_path / "file" / "x", tmp_path / "file" / "x" / "y", Path("/proc/nothing/x")):
        with pytest.raises(CondgenError, match="cannot be written"):
            check_writable(bad)
    with pytest.raises(CondgenError, match="a folder of that name"):
        check_writable(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CondgenError, match="a device or a pipe"), atomic_write(tmp_path / "pipe"):
        pass


def test_a_lock_is_held_by_one(tmp_path: Path) -> None:
    with (
        locked(tmp_path / "lock", "busy."),
        pytest.raises(RunError, match=r"busy\."),
        locked(tmp_path / "lock", "busy."),
    ):
        pass
    with (
        locked(tmp_path / "again", "busy.", again=True),
        locked(tmp_path / "again", "busy.", again=True),
    ):
        pass


def test_looking_at_a_lock_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not is_locked(path)
    assert not path.exists()
    with locked(path, "busy."):
        assert is_locked(path)
        assert is_locked(path)
    assert not is_locked(path)
    with locked(path, "busy."):
        pass
