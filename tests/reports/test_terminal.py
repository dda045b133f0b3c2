"""Tables in the terminal."""

from collections import Counter

import pytest

from condgen import AuditedModel
from condgen.audits import Record
from condgen.reports import console, sections
from condgen.reports.tables import Table
from condgen.reports.terminal import print_record, print_table, print_tables


@pytest.mark.parametrize("width", [30, 160])
def test_a_narrow_terminal_folds_cells_and_cuts_nothing_off(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "WIDTH", width)
    columns, row = (
        ("model", "attack", "undetected %"),
        ("digits-split", "Carlini-Wagner", "66.7 [46.7, 82.0]"),
    )
    print_table(Table("t", "Title", "", columns, (row,), ()))
    printed = capsys.readouterr().out
    assert Counter("".join(printed.replace("─", "").split())) == Counter(
        "".join("".join(("Title", *columns, *row)).split())
    )
    assert ("Carlini-Wagner" in printed) == (width == 160)


def test_rows_are_folded_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "WIDTH", 30)
    console.print_rows("", [("digits-split", "/a/folder/with/a/name/longer/than/the/terminal")])
    assert "…" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "audit", ["classification", "label-likelihood", "interpolation", "samples", "adversarial"]
)
def test_a_record_is_printed_as_the_tables_of_its_section(
    audit: str, records: dict[str, Record], capsys: pytest.CaptureFixture[str]
) -> None:
    print_record(records[audit])
    printed = capsys.readouterr().out
    tables = sections.section_of(audit).tables([AuditedModel("m", [records[audit]])])
    assert all(table.title in printed for table in tables)
    assert "model" not in printed.splitlines()[1]  # a column without content
    if not tables:
        assert ["per", "class", "2"] in [line.split() for line in printed.splitlines()]


def test_a_record_of_any_other_audit_is_printed_too(capsys: pytest.CaptureFixture[str]) -> None:
    print_record(
        Record("of-my-own", {"share": 0.25, "share_ci": [0.1, 0.5], "note": "[b]"}, {}), "mine"
    )
    printed = capsys.readouterr().out
    assert "Of my own" in printed
    assert "0.25 [0.1, 0.5]" in printed
    assert "mine" in printed
    assert "[b]" in printed


def test_the_tables_of_several_models_are_printed_in_the_order_of_the_page(
    records: dict[str, Record], capsys: pytest.CaptureFixture[str]
) -> None:
    models = [
        AuditedModel("a", list(records.values())),
        AuditedModel("b", [records["classification"]]),
    ]
    print_tables(models)
    printed = capsys.readouterr().out
    places = [
        printed.index(title)
        for title in ("Table 1", "Label likelihood", "Paths between", "Table 2", "reliable?")
    ]
    assert places == sorted(places)
