"""Tables in the terminal."""

import pytest

from condgen.reports import console
from condgen.reports.tables import Table
from condgen.reports.terminal import print_table


@pytest.mark.parametrize("width", [30, 160])
def test_a_narrow_terminal_folds_cells_and_cuts_nothing_off(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "WIDTH", width)
    table = Table(
        "t", "Title", "", ("model", "attack", "unnoticed %"), (("digits-split", "Carlini-Wagner", "66.7 [46.7, 82.0]"),), ()
    )
    print_table(table)
    printed = capsys.readouterr().out
    assert "…" not in printed
    assert ("Carlini-Wagner" in printed) == (width == 160)
