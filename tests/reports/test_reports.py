"""Reports: words follow the numbers, tables carry them, and the page holds all of it."""

import csv
import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from condgen.data.dataset import ImageDataset
from condgen.errors import CondgenError
from condgen.reports import words, write_report
from condgen.reports.images import image_grid, save_labelled_grid
from condgen.reports.tables import attacks_table, checks_table
from condgen.runs import Run

MEMBERSHIP = {"gap_nats": 5.0, "gap_nats_ci": (4.0, 6.0), "spread_nats": 11.0, "auroc": 0.6}
INTERPOLATION = {
    "bits_per_dim_middle": 3.0,
    "bits_per_dim_ends": 2.0,
    "pairs": 10,
    "accepted_all_along": 0.5,
    "accepted_all_along_ci": (0.4, 0.6),
    "middle_minus_ends": 1.0,
    "middle_minus_ends_ci": (0.9, 1.1),
}


@pytest.mark.parametrize(
    ("interval", "said"),
    [
        ((0.45, 0.55), "cannot be told from guessing"),
        ((0.3, 0.4), "worse than guessing"),
        ((0.6, 0.7), "little better than guessing"),
        ((0.8, 0.9), "many wrong labels pass"),
        ((0.97, 0.99), "does notice wrong labels"),
    ],
)
def test_words_on_membership_follow_the_interval(interval: tuple[float, float], said: str) -> None:
    assert said in words.membership("m", {**MEMBERSHIP, "auroc_ci": interval})


@pytest.mark.parametrize(
    ("rise", "said"),
    [((0.1, 0.2), "less likely than real"), ((-0.2, -0.1), "more likely than real"), ((-0.1, 0.1), "as likely as")],
)
def test_words_on_interpolation_follow_the_rise(rise: tuple[float, float], said: str) -> None:
    assert said in words.interpolation("m", {**INTERPOLATION, "middle_minus_ends_ci": rise})


@pytest.mark.parametrize(
    ("interval", "said"),
    [
        ((0.92, 0.98), "hardly any way"),
        ((0.02, 0.08), "nearly every way"),
        ((0.4, 0.6), "some ways"),
        ((0.85, 0.98), "some ways"),
        ((0.02, 0.15), "some ways"),
    ],
)
def test_words_on_interpolation_follow_the_interval_of_the_share(interval: tuple[float, float], said: str) -> None:
    assert said in words.interpolation("m", {**INTERPOLATION, "accepted_all_along_ci": interval})


def test_the_verdict_names_who_is_fooled() -> None:
    summaries = {"a": {"accepted_all_along_ci": (0.8, 0.95)}, "b": {"accepted_all_along_ci": (0.05, 0.2)}}
    mixed = words.verdict(summaries, {})
    assert "stopped for b" in mixed
    assert "unnoticed for a" in mixed
    assert words.verdict({"b": summaries["b"]}, {}).endswith("stopped for b.")


@pytest.mark.parametrize("interval", [(0.44, 0.58), (0.35, 0.5), (0.5, 0.7)])
def test_the_verdict_claims_no_majority_that_the_interval_leaves_open(interval: tuple[float, float]) -> None:
    said = words.verdict({"a": {"accepted_all_along_ci": interval}, "b": {"accepted_all_along_ci": (0.05, 0.2)}}, {})
    assert "stopped for b; whether most pass is open for a." in said
    assert "mixed worth" not in said


def test_the_verdict_ends_with_what_attacks_turn(trained: Run) -> None:
    said = words.verdict({"b": {"accepted_all_along_ci": (0.05, 0.2)}}, {"b": trained.record("adversarial").summary})
    assert "stopped for b. Attacks that know the detector turn 100.0 [" in said


def test_words_on_attacks_name_the_checks_that_failed(trained: Run) -> None:
    summary = trained.record("adversarial").summary
    sentences = {False: "these checks fail: x.", None: "No check of the evaluation fails; not examined: x.", True: "fails."}
    for passed, sentence in sentences.items():
        checks = [{"name": "x", "passed": passed, "found": "", "advice": ""}]
        assert words.attacks("m", {**summary, "checks": checks}).endswith(sentence)


def test_table_2_has_a_row_for_each_attack_and_the_numbers_of_its_cells(trained: Run) -> None:
    summary = trained.record("adversarial").summary
    table = attacks_table({"m": summary})
    assert [row[1] for row in table.rows] == ["Carlini-Wagner", "Brendel-Bethge", "Boundary", "HopSkipJump", "worst case"]
    worst = next(cell for cell in summary["cells"] if cell["attack"] == "worst case" and cell["knows_detector"])
    assert table.rows[-1][7].startswith(f"{100 * worst['unnoticed_within']:.1f} [")
    assert table.rows[-1][-1] == str(summary["n"])
    assert {row[3] for row in table.rows} == {f"{summary['threshold']:.2f}"}
    assert [name for name, words in zip(table.columns, table.of_words, strict=True) if words] == ["model", "attack"]
    assert len(checks_table({"m": summary}).rows) == len(summary["checks"])


def test_the_page_stands_alone_and_the_files_agree_with_it(trained: Run, tmp_path: Path) -> None:
    page = write_report([trained], tmp_path)
    text = page.read_text()
    assert "<script" not in text
    assert 'src="data:image/svg+xml;base64,' in text
    assert '<td class="words">Carlini-Wagner</td>' in text
    assert 'href="http' not in text
    rows = list(csv.reader((tmp_path / "tables" / "table1.csv").read_text().splitlines()))
    numbers = json.loads((tmp_path / "tables" / "table1.json").read_text())
    summary = trained.record("classification").summary
    assert numbers[0]["accuracy"] == summary["accuracy"]
    assert rows[1][0] == trained.name
    assert all(cell in text for cell in rows[1])
    for figure in (tmp_path / "figures").glob("*.svg"):
        assert ElementTree.parse(figure).getroot().tag.endswith("svg")
        assert figure.with_suffix(".png").stat().st_size > 1000
    assert len(list((tmp_path / "figures").iterdir())) == 18
    samples = (tmp_path / "figures" / f"class-samples-{trained.name}.svg").read_text()
    # not one raster of them all, resampled
    assert samples.count("<image") == len(trained.record("samples").arrays["images"])


def test_two_runs_of_one_name_are_reported_apart(trained: Run, tmp_path: Path) -> None:
    with pytest.raises(CondgenError, match="same name"):
        write_report([trained, trained], tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_a_class_with_fewer_images_has_a_shorter_row(tmp_path: Path) -> None:
    images = np.zeros((7, 1, 4, 4), np.uint8)
    save_labelled_grid(ImageDataset(images, [0] * 5 + [1] * 2), 4, tmp_path / "grid.png")
    drawn = np.asarray(Image.open(tmp_path / "grid.png").convert("L")) < 128
    half = len(drawn) // 2
    columns = [np.flatnonzero(row.mean(0) > 0.5) for row in (drawn[:half], drawn[half:])]
    assert len(columns[0]) == pytest.approx(2 * len(columns[1]), rel=0.1)  # four images, and two


def test_images_that_are_no_squares_keep_their_shape() -> None:
    grid = image_grid(np.zeros((4, 3, 10, 20)), ["a", "b"])
    left, right, bottom, top = grid.axes[0].images[3].get_extent()
    assert right - left == pytest.approx(2 * (bottom - top))
    assert 1 <= left < right <= 2
    assert 1 <= top < bottom <= 2
