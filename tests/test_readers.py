"""Fuzzed input files: each reader returns an object or raises a one-sentence error."""

import json
import os
import random
import shutil
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from condgen import AuditedModel, CondgenError, Run, load_preset, write_report
from condgen.audits.records import Record
from condgen.config import load_config, replaced, subject_config
from condgen.config.experiment import Config
from condgen.detectors import LikelihoodThreshold
from condgen.reports.terminal import print_tables
from condgen.runs import open_folder
from condgen.training.checkpoints import Checkpoint, epochs_done, weights_sha256
from tests.cli.test_commands import condgen
from tests.conftest import TINY
from tests.reports.conftest import made_with

FUZZ = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

numbers = st.one_of(st.booleans(), st.integers(-(2**70), 2**70), st.floats())
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
plain = st.one_of(st.none(), numbers, texts)
values = st.recursive(
    plain,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Record]:
    """Records, after a first report has imported all modules.

    Hypothesis draws constants of imported modules, so that a later import changes what it draws.
    """
    made = made_with(LikelihoodThreshold(5.0), attacked=False)
    write_report([AuditedModel("m", list(made.values()))], tmp_path_factory.mktemp("first"))
    return made


def places(table: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values in a nested table."""
    items = (
        table.items()
        if isinstance(table, dict)
        else enumerate(table)
        if isinstance(table, list)
        else ()
    )
    return [place for key, value in items for place in ((*path, key), *places(value, (*path, key)))]


def altered(table: dict[str, Any], choice: int, value: Any) -> dict[str, Any]:
    """A copy with one value replaced."""
    copy = json.loads(json.dumps(table))
    path = places(copy)[choice % len(places(copy))]
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return copy


def sentence(error: CondgenError) -> None:
    assert str(error).strip()
    assert "Traceback" not in str(error)


@FUZZ
@given(
    content=st.one_of(st.binary(max_size=60), values.map(lambda value: json.dumps(value).encode()))
)
def test_any_bytes_as_a_record(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_bytes(content)
    np.savez(tmp_path / "mine.npz", score=np.zeros(2))
    try:
        Record.load(tmp_path, "mine")
    except CondgenError as error:
        sentence(error)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":' * 50_000,
        '{"n": ' + "9" * 5000 + "}",
        '{"sha256": 3}',
        '{"sha256": {}}',
    ],
)
def test_nested_and_huge_json_is_a_damaged_record(text: str, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text(text)
    np.savez(tmp_path / "mine.npz", score=np.zeros(2))
    with pytest.raises(CondgenError, match="is damaged"):
        Record.load(tmp_path, "mine")


@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning")  # records are long
@settings(FUZZ, max_examples=25)
@given(
    number=st.integers(0, 10),
    choice=st.integers(0, 10**6),
    value=values,
    origin=st.fixed_dictionaries(
        dict.fromkeys(("weights", "versions", "epoch", "settings"), values)
    ),
)
def test_a_report_of_records_with_wrong_types(
    number: int,
    choice: int,
    value: Any,
    origin: dict[str, Any],
    records: dict[str, Record],
    tmp_path: Path,
) -> None:
    record = list(records.values())[number % len(records)]
    summary = altered(record.summary, choice, value)
    try:
        write_report(
            [AuditedModel("m", [Record(record.audit, summary, record.arrays, origin)])],
            tmp_path / "out",
        )
    except CondgenError as error:
        sentence(error)


PAGE = load_preset("digits-split", TINY).model_dump(exclude_none=True)


@FUZZ
@given(choice=st.integers(0, 10**6), value=values)
def test_a_page_with_any_value(choice: int, value: Any, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    page = altered(PAGE, choice, value)
    try:
        path.write_text(tomli_w.dumps(page))
    except (TypeError, ValueError):  # TOML has no null and no lone surrogates
        return
    for reader in (
        lambda: Run.open(tmp_path),
        lambda: load_preset(path),
        lambda: subject_config(page),
        lambda: load_config(path, Config),
    ):
        try:
            reader()
        except CondgenError as error:
            sentence(error)


@FUZZ
@given(content=st.binary(max_size=80))
def test_any_bytes_as_a_page_or_a_state(content: bytes, tmp_path: Path) -> None:
    for name in ("config.toml", "subject.toml"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CondgenError):
            open_folder(tmp_path)
        with pytest.raises(CondgenError):
            load_preset(tmp_path / name)
        (tmp_path / name).unlink()
    state = tmp_path / "checkpoint" / "last" / "state.toml"
    state.parent.mkdir(parents=True, exist_ok=True)
    state.write_bytes(content)
    with pytest.raises(CondgenError):
        Checkpoint.load(state.parent)
    assert (epochs_done(tmp_path / "checkpoint"), weights_sha256(state.parent)) == (0, "")


NESTED = {
    "lists": "a = " + "[" * 50_000,
    "tables": "[" + ".".join("a" * 3000) + "]",
    "a long number": "seed = " + "1" * 5000,
    "deep tables": "a = " + "{b = " * 3000 + "1" + "}" * 3000,
    "a date": "seed = 1979-05-27",
    "not a number": "[training]\nlearning_rate = nan",
    "an endless number": "[detector]\nthreshold = inf",
}


@pytest.mark.parametrize("name", NESTED)
def test_nested_and_huge_toml_is_one_sentence(name: str, tmp_path: Path) -> None:
    for page in ("config.toml", "subject.toml"):
        (tmp_path / page).write_text(NESTED[name])
        with pytest.raises(CondgenError):
            open_folder(tmp_path)
        (tmp_path / page).unlink()
    (tmp_path / "mine.toml").write_text(NESTED[name])
    with pytest.raises(CondgenError):
        load_preset(tmp_path / "mine.toml")


@FUZZ
@given(
    key=st.sampled_from(
        [".".join(map(str, place)) for place in places(PAGE)] + ["", ".", "a.b.c.d"]
    ),
    text=texts,
)
def test_any_override(key: str, text: str) -> None:
    for change in (
        f"{key}={text}",
        f"{key}{text}",
        f"{key}.{text}=1",
        f"{key}=[{text}",
        f"{key}={'9' * 5000}",
        f"{key}={{x=1}}",
    ):
        for use in (
            lambda c: load_preset("digits-split", [c]),
            lambda c: replaced(load_preset("digits-split"), [c], ("audit", "detector")),
        ):
            try:
                use(change)
            except CondgenError as error:
                sentence(error)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.training.small import train

    folder = tmp_path_factory.mktemp("run")
    train(folder, epochs=1)
    return folder / "checkpoint" / "last"


def test_no_flipped_bit_of_a_state_goes_unnoticed(checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoint, tmp_path / "last")
    state = tmp_path / "last" / "state.toml"
    content, whole = state.read_bytes(), Checkpoint.load(checkpoint)
    for place in range(0, 8 * len(content), 3):
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << place % 8
        state.write_bytes(bytes(flipped))
        try:
            found = Checkpoint.load(tmp_path / "last")
        except CondgenError:
            continue
        assert (found.epoch, found.step, found.metrics, found.made_with) == (
            whole.epoch,
            whole.step,
            whole.metrics,
            whole.made_with,
        )


@FUZZ
@given(choice=st.integers(0, 10**6), value=values)
def test_a_state_with_any_value(choice: int, value: Any, checkpoint: Path, tmp_path: Path) -> None:
    state = altered(tomllib.loads((checkpoint / "state.toml").read_text()), choice, value)
    state.pop("format", None)  # an older format, which may have no checksum
    state.get("sha256", {}).pop("state.toml", None) if isinstance(
        state.get("sha256"), dict
    ) else None
    shutil.rmtree(tmp_path / "last", ignore_errors=True)
    shutil.copytree(checkpoint, tmp_path / "last")
    try:
        (tmp_path / "last" / "state.toml").write_text(tomli_w.dumps(state))
    except (TypeError, ValueError):
        return
    try:
        Checkpoint.load(tmp_path / "last")
    except CondgenError as error:
        sentence(error)
    epochs_done(tmp_path)


WORDS = [
    "",
    "[/y]",
    "$x$",
    "a\udcff",
    "-1",
    "0.5",
    "nan",
    "~nosuchuser",
    "/",
    "x" * 300,
    "{}",
    "digits",
    "a=b",
    "seed",
    "=",
    "\n",
]
COMMANDS = {
    "train": [
        ("--set",),
        ("--run",),
        ("--seed",),
        ("--minutes", "0"),
        ("--data-dir",),
        ("--device", "cpu"),
    ],
    "audit": [
        ("--only",),
        ("--budget",),
        ("--set",),
        ("--seed",),
        ("--model",),
        ("--data",),
        ("--out",),
    ],
    "report": [("--out",), ("--set",)],
    "sample": [("--label",), ("--count",), ("--temperature",), ("--out",)],
    "show": [("--out",), ("--size",), ("--count",)],
    "score": [("--out",), ("--threads",)],
    "describe": [("--set",)],
    "check": [("--data-dir",)],
    "theory": [
        ("--epsilon",),
        ("--delta",),
        ("--radius",),
        ("--dimension",),
        ("--figures",),
        ("--seed",),
    ],
    "presets": [("--nothing",)],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_bad_command_lines_end_in_a_sentence(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = random.Random(command)
    for _ in range(15):
        options = words.sample(COMMANDS[command], words.randint(1, len(COMMANDS[command])))
        given_ = [
            word
            for option in options
            for word in (option if len(option) == 2 else (option[0], words.choice(WORDS)))
        ]
        arguments = [words.choice(WORDS[:-1]) for _ in range(words.randint(0, 2))]
        status, _, error = condgen(command, *given_, *arguments)
        assert status == 2, (command, given_, arguments, error)
        assert "Traceback" not in error


@pytest.mark.parametrize("name", [b"[red]y", b"$a$b", b"a\xffb", b"100%", b"a b", b"{x}"])
def test_a_run_of_any_name_is_shown(
    name: bytes, records: dict[str, Record], tmp_path: Path, capsys
) -> None:
    path = tmp_path / os.fsdecode(name)
    run = Run.create(path, load_preset("digits-base", TINY))
    for audit in ("classification", "label-likelihood", "interpolation", "samples"):
        records[audit].save(run.records)
    Record("mine", {"n": 1}, {}).save(run.records)
    for out in (tmp_path / "report", path / "report"):
        assert condgen("report", path, "--out", out)[0] == 0
    capsys.readouterr()
    print_tables([run])
    assert run.name in capsys.readouterr().out.rpartition("Mine")[2]  # as a column header
