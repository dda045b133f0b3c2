"""Run directories: one process at a time creates or trains one; bad input fails early."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from condgen import CondgenError, Run, experiments, fit, load_preset, open_dataset
from condgen.config import Training
from condgen.runs import RecordFolder
from tests.conftest import TINY
from tests.toy import Toy

START = """
import sys, time
from pathlib import Path
from condgen import CondgenError, load_preset
from condgen.runs import Run
config = load_preset("digits-base")
Path(sys.argv[1], "ready" + sys.argv[2]).write_text("")
while not Path(sys.argv[1], "go").exists():
    pass
for number in range(30):
    try:
        Run.create(Path(sys.argv[1], f"run{number}"), config)
    except CondgenError as error:
        assert "exists already" in str(error), error
    else:
        print(number)
"""


def test_of_simultaneous_starts_one_makes_the_run(tmp_path: Path) -> None:
    command = [sys.executable, "-c", START, str(tmp_path)]
    starting_points = [
        subprocess.Popen([*command, str(number)], stdout=subprocess.PIPE, text=True)
        for number in range(2)
    ]
    while len(list(tmp_path.glob("ready*"))) < 2:
        assert all(start.poll() is None for start in starting_points)
    (tmp_path / "go").write_text("")
    made = [line for start in starting_points for line in start.communicate(timeout=120)[0].split()]
    assert [start.returncode for start in starting_points] == [0, 0]
    assert sorted(map(int, made)) == list(range(30))
    assert {path.name for path in tmp_path.iterdir() if path.name[0] == "."} == set()


def model() -> Toy:
    return Toy((1, 8, 8), 10, 17)


BAD_FITS: dict[str, tuple[dict[str, Any], str]] = {
    "negative seed": ({"seed": -1}, "seed = -1 does not fit"),
    "fractional seed": ({"seed": 0.5}, "seed = 0.5 does not fit"),
    "no seed": ({"seed": None}, "seed = None does not fit"),
    "unknown setting": ({"training": {"epoch": 3}}, "did you mean 'training.epochs'?"),
    "a setting of another kind": (
        {"training": {"epochs": "many"}},
        "training.epochs = 'many' does not fit",
    ),
    "no table": ({"training": 3}, "training = 3 does not fit"),
    "objective of no kind": ({"objective": 3}, "objective"),
    "no data": ({"splits": None}, "splits is a NoneType, expected Splits"),
    "no place": ({"directory": None}, "None is no path"),
    "null character": ({"directory": "a\0b"}, "is no path"),
    "no model": ({"model": None}, "NoneType"),
    "minutes": ({"minutes": "5"}, "minutes is '5', expected a number"),
    "less than no time": ({"minutes": -1}, "minutes is -1, expected a number"),
    "another model": ({"built_by": 3}, "built_by"),
    "device": ({"device": "tpu"}, "tpu"),
}


@pytest.mark.parametrize("name", BAD_FITS)
def test_bad_calls_of_fit_are_one_sentence_and_leave_nothing(name: str, tmp_path: Path) -> None:
    given, message = BAD_FITS[name]
    call = {
        "model": model(),
        "splits": open_dataset("digits"),
        "directory": tmp_path / "run",
        "quiet": True,
    } | given
    with pytest.raises(CondgenError) as error:
        fit(call.pop("model"), call.pop("splits"), call.pop("directory"), **call)
    assert message in str(error.value)
    assert not list(tmp_path.iterdir())


def test_settings_may_be_given_as_sections(tmp_path: Path) -> None:
    run = fit(
        model(),
        open_dataset("digits"),
        str(tmp_path / "run"),
        training=Training(epochs=1),
        quiet=True,
    )
    assert run.epochs_done == 1
    assert run.detector().threshold > 0


@pytest.mark.parametrize(
    "call",
    [
        lambda path: experiments.train(None, path),
        lambda path: experiments.train(load_preset("digits-base"), None),
        lambda path: experiments.train(load_preset("digits-base"), path, minutes="x"),
        lambda path: experiments.audit(path),
        lambda path: experiments.audit(None),
        lambda path: Run.open(None),
        lambda path: RecordFolder.open(3),
        lambda path: experiments.score_files(path, [], path),
    ],
)
def test_other_bad_calls_are_one_sentence(call: Any, tmp_path: Path) -> None:
    with pytest.raises(CondgenError):
        call(tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_refused_before_the_data_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(*_: object, **__: object) -> None:
        raise AssertionError("the data was opened")

    monkeypatch.setattr("condgen.experiments.building.open_dataset", opened)
    (tmp_path / "file").write_text("")
    for place, message in (
        (tmp_path / "file" / "run", "cannot be written"),
        (tmp_path, "exists already"),
    ):
        with pytest.raises(CondgenError, match=message):
            experiments.train(load_preset("digits-base", TINY), place)
