"""The page in a browser: no error, tables that sort, a filter for models, narrow windows."""

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from condgen import AuditedModel, Run, write_report
from condgen.audits.records import Record

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

SORT = """
const heads = [...document.querySelectorAll("#part-1 th")];
const column = (place) =>
  [...document.querySelectorAll("#part-1 tbody tr")].map((row) => row.cells[place].textContent);
const number = heads.findIndex((head) => head.textContent === "accuracy %");
const found = {};
heads[number].querySelector("button").click();
found.up = column(number);
heads[number].querySelector("button").click();
found.down = column(number);
heads[0].querySelector("button").click();
found.names = column(0);
"""
FILTER = """
const input = document.querySelector(".filter input");
input.value = "SECOND";
input.dispatchEvent(new Event("input"));
const shown = [...document.querySelectorAll("[data-model]")].filter((part) => !part.hidden);
const found = {models: [...new Set(shown.map((part) => part.dataset.model))], all: shown.length};
"""
WIDTH = """
const found = {
  wide: document.documentElement.scrollWidth, window: window.innerWidth,
  paper: getComputedStyle(document.body).backgroundColor,
};
"""

PICTURES = """
const pictures = [...document.querySelectorAll("img")];
const found = {
  all: pictures.length, broken: pictures.filter((one) => !one.naturalWidth).map((one) => one.alt),
};
"""


@pytest.fixture(scope="module")
def page(trained: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of three models whose accuracies differ."""
    models = [_with_accuracy(trained, name, accuracy) for name, accuracy in ACCURACIES.items()]
    return write_report(models, tmp_path_factory.mktemp("page"), claims=True)


ACCURACIES = {"first": 0.5, "second": 0.095, "third": 1.0}


def _with_accuracy(run: Run, name: str, accuracy: float) -> AuditedModel:
    records = [run.record(audit) for audit in run.audits_made()]
    changed = [
        Record(each.audit, {**each.summary, "accuracy": accuracy}, each.arrays)
        if each.audit == "classification"
        else each
        for each in records
    ]
    return AuditedModel(name, changed)


def in_browser(page: Path, script: str, folder: Path, *flags: str) -> Mapping[str, Any]:
    """Run a script on a copy of the page; returns its ``found``. A console message is an error."""
    copy = folder / "copy.html"
    keep = "document.body.dataset.found = JSON.stringify(found);"
    copy.write_text(page.read_text().replace("</body>", f"<script>{script}{keep}</script></body>"))
    done = subprocess.run(
        [
            *(str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu"),
            *("--enable-logging=stderr", f"--user-data-dir={folder / 'profile'}", *flags),
            *("--dump-dom", copy.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "CONSOLE" not in done.stderr, done.stderr
    found = re.search(r'data-found="([^"]*)"', done.stdout)
    assert found
    result: dict[str, Any] = json.loads(unescape(found[1]))
    return result


def test_an_error_on_the_page_would_be_noticed(page: Path, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="CONSOLE"):
        in_browser(page, "const found = {}; console.error('oh');", tmp_path)


def test_a_click_sorts_a_table_by_number_and_back(page: Path, tmp_path: Path) -> None:
    found = in_browser(page, SORT, tmp_path)
    starts = [cell.split()[0] for cell in found["up"]]
    assert starts == ["9.5", "50.0", "100.0"]
    assert found["down"] == found["up"][::-1]
    assert [name.split()[0] for name in found["names"]] == ["first", "second", "third"]


def test_the_filter_shows_the_models_that_it_names(page: Path, tmp_path: Path) -> None:
    found = in_browser(page, FILTER, tmp_path)
    assert {name.split()[0] for name in found["models"]} == {"second"}
    assert found["all"] > 5


@pytest.mark.parametrize("dark", [False, True])
def test_a_narrow_window_does_not_scroll_sideways(page: Path, tmp_path: Path, dark: bool) -> None:
    flags = ["--window-size=500,900", *(["--blink-settings=preferredColorScheme=0"] * dark)]
    found = in_browser(page, WIDTH, tmp_path, *flags)
    assert found["wide"] <= found["window"] <= 500
    light, black = sum(map(int, re.findall(r"\d+", found["paper"])[:3])), 3 * 128
    assert (light < black) is dark


def test_every_picture_is_drawn(page: Path, tmp_path: Path) -> None:
    found = in_browser(page, PICTURES, tmp_path)
    assert found["all"] > 10
    assert found["broken"] == []
