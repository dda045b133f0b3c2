"""The files of a report: ownership, content of the CSV files, settings that differ."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from condgen import AuditedModel, CondgenError, Run, load_preset, write_report
from condgen.audits import Record
from condgen.reports.origins import differences_table
from condgen.reports.selection import select
from condgen.reports.tables import Table
from tests.conftest import TINY

RECORD = Record("label-noise", {"n": 7, "flipped": 0.125, "flipped_ci": [0.1, 0.2]}, {})


def report(out: Path) -> Path:
    return write_report([AuditedModel("mine", [RECORD])], out)


def test_a_page_that_only_names_condgen_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(
        "<html><head><title>condgen at home</title></head>condgen</html>"
    )
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "precious.csv").write_text("1")
    with pytest.raises(CondgenError, match=r"has tables and index\.html that no report wrote"):
        report(tmp_path)
    assert (tmp_path / "tables" / "precious.csv").read_text() == "1"


def test_a_file_that_was_put_into_a_report_is_not_deleted(tmp_path: Path) -> None:
    report(tmp_path)
    report(tmp_path)  # replaces its own files
    (tmp_path / "tables" / "precious.csv").write_text("1")
    with pytest.raises(CondgenError, match=r"has tables/precious\.csv that no report wrote"):
        report(tmp_path)
    assert (tmp_path / "tables" / "precious.csv").read_text() == "1"


def test_a_report_of_before_is_replaced_unless_it_holds_other_files(tmp_path: Path) -> None:
    page = report(tmp_path)
    lines = [line for line in page.read_text().splitlines() if "condgen-files" not in line]
    page.write_text("\n".join(lines))
    (tmp_path / "figures" / "thesis.docx").write_text("years")
    with pytest.raises(CondgenError, match=r"figures/thesis\.docx"):
        report(tmp_path)
    (tmp_path / "figures" / "thesis.docx").unlink()
    report(tmp_path)


def test_a_place_that_cannot_be_written_is_refused_before_the_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("condgen.reports.page.select", lambda *_: pytest.fail("the work was begun"))
    (tmp_path / "file").write_text("")
    with pytest.raises(CondgenError, match="cannot be written"):
        report(tmp_path / "file" / "report")


def test_a_cell_of_a_csv_file_is_one_number_or_one_text(
    tmp_path: Path, records: dict[str, Record]
) -> None:
    write_report([AuditedModel("mine", [RECORD, *records.values()])], tmp_path)
    (line,) = csv.DictReader((tmp_path / "tables" / "label-noise.csv").read_text().splitlines())
    assert line == {
        "model": "mine",
        "n": "7",
        "flipped": "0.125",
        "flipped_low": "0.1",
        "flipped_high": "0.2",
    }
    files = list((tmp_path / "tables").glob("*.csv"))
    assert len(files) > 4
    for path in files:
        for line in csv.DictReader(path.read_text().splitlines()):
            assert not any(cell[:1] in "[{" for cell in line.values() if cell), (path, line)


def test_what_is_no_number_is_empty_in_csv_and_null_in_json(tmp_path: Path) -> None:
    Table("t", "", "", ("x",), (("–",),), ({"x": float("inf"), "y": None, "z": 1},)).save(tmp_path)
    assert (tmp_path / "t.csv").read_text().splitlines() == ["x,y,z", ",,1"]
    assert json.loads((tmp_path / "t.json").read_text(), parse_constant=pytest.fail) == [
        {"x": None, "y": None, "z": 1}
    ]


def made(path: Path, *settings: str, **origin: object) -> Run:
    run = Run.create(path, load_preset("digits-base", [*TINY, *settings]))
    replace(RECORD, origin={"settings": {"budget": "quick"}, "seed": 0, **origin}).save(run.records)
    return run


def test_every_setting_that_differs_is_named_and_no_other(tmp_path: Path) -> None:
    first = made(tmp_path / "a", device="cpu")
    second = made(
        tmp_path / "b",
        "training.learning_rate=0.02",
        "model.width=16",
        settings={"budget": "smoke"},
        device="cuda",
    )
    table = differences_table([select(first), select(second)])
    assert table.columns == (
        "model",
        "model.width",
        "training.learning_rate",
        "device",
        "audit.label-noise.budget",
    )
    assert table.rows == (("a", "8", "0.01", "cpu", "quick"), ("b", "16", "0.02", "cuda", "smoke"))
    page = write_report([first, second], tmp_path / "report").read_text()
    assert "Settings that differ" in page
    assert "training.learning_rate" in page
    alone = write_report([first], tmp_path / "alone").read_text()
    assert "Settings that differ" not in alone
