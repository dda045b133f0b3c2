"""Tables in the terminal."""

from collections import Counter

import pytest

from condgen.reports import console
from condgen.reports.tables import Table
from condgen.reports.terminal import print_table


@pytest.mark.parametrize("width", [30, 160])
def test_a_narrow_terminal_folds_cells_and_cuts_nothing_off(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "WIDTH", width)
    columns, row = ("model", "attack", "unnoticed %"), ("digits-split", "Carlini-Wagner", "66.7 [46.7, 82.0]")
    print_table(Table("t", "Title", "", columns, (row,), ()))
    printed = capsys.readouterr().out
    assert Counter("".join(printed.replace("─", "").split())) == Counter("".join("".join(("Title", *columns, *row)).split()))
    assert ("Carlini-Wagner" in printed) == (width == 160)


def test_rows_are_folded_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(console, "WIDTH", 30)
    console.print_rows("", [("digits-split", "/a/folder/with/a/name/longer/than/the/terminal")])
    assert "…" not in capsys.readouterr().out
