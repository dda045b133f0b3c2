"""The report page: records shown, audits not run, and accompanying files."""

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from condgen import AuditedModel, Run, load_preset
from condgen.audits import Record
from condgen.audits.audit import Audit
from condgen.config import AuditSettings
from condgen.data.dataset import ImageDataset
from condgen.errors import CondgenError, RunError
from condgen.registry import AUDITS
from condgen.reports import PageSection, sections, write_report
from condgen.reports.images import image_grid, save_labelled_grid
from condgen.reports.paper import classification_of
from condgen.reports.tables import Table
from condgen.runs import open_folder
from condgen.training.log import LOG, MetricsFile

SAVED = Path(__file__).parents[2] / "results"


def numbers(report: Path, table: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads((report / "tables" / f"{table}.json").read_text())
    return found


@pytest.fixture
def sixth(monkeypatch: pytest.MonkeyPatch) -> str:
    """An audit that was registered after the records were made."""
    monkeypatch.setattr(AUDITS, "_members", dict(AUDITS._members))
    AUDITS.register("label-noise")(
        Audit("label-noise", AuditSettings, lambda *_: Record("label-noise", {}, {}))
    )
    return "label-noise"


def test_the_page_stands_alone_and_the_files_agree_with_it(trained: Run, tmp_path: Path) -> None:
    page = write_report([trained], tmp_path)
    text = page.read_text()
    assert not re.search(r'(src|href)="(?!data:|#)', text)  # the browser requests nothing
    assert len(text) < 3_000_000
    assert all(re.findall(r'<img alt="([^"]*)"', text))
    assert 'src="data:image/svg+xml,' in text
    assert '<td class="words">Carlini-Wagner</td>' in text
    assert "What was not run" not in text
    rows = list(csv.reader((tmp_path / "tables" / "table1.csv").read_text().splitlines()))
    summary = trained.record("classification").summary
    assert numbers(tmp_path, "table1")[0]["accuracy"] == summary["accuracy"]
    first = dict(zip(*rows, strict=True))
    assert first["model"] == trained.name
    assert float(first["accuracy"]) == summary["accuracy"]
    assert [float(first["accuracy_low"]), float(first["accuracy_high"])] == summary["accuracy_ci"]
    for figure in (tmp_path / "figures").glob("*.svg"):
        assert ElementTree.parse(figure).getroot().tag.endswith("svg")
        assert figure.with_suffix(".png").stat().st_size > 1000
    assert len(list((tmp_path / "figures").iterdir())) == 2 * 10
    samples = (tmp_path / "figures" / f"class-samples-{trained.name}.svg").read_text()
    # One image per sample, not one resampled raster.
    assert samples.count("<image") == len(trained.record("samples").arrays["images"])


def test_the_same_records_give_the_same_files(records: dict[str, Record], tmp_path: Path) -> None:
    for name in "ab":
        write_report([AuditedModel("m", list(records.values()))], tmp_path / name)
    files = [
        path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file()
    ]
    assert len(files) > 15
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


@pytest.mark.parametrize("audit", AUDITS.names())
def test_one_record_is_enough_and_the_others_are_listed(audit: str, folder, tmp_path: Path) -> None:
    text = write_report([folder(audit)], tmp_path / "report").read_text()
    assert all(part.title in text for part in sections.section_of(audit).parts)
    (line,) = numbers(tmp_path / "report", "not-run")
    rest = [name for name in AUDITS.names() if name != audit]
    assert line["audits"] == rest
    assert line["reason"] == "no record; add it with: condgen audit RUN " + " ".join(
        f"--only {name}" for name in rest
    )
    assert "What was not run" in text


def test_each_model_is_shown_where_it_has_a_record(
    folder, records: dict[str, Record], tmp_path: Path
) -> None:
    models = [
        folder("classification", "samples"),
        AuditedModel("mine", [records["classification"]]),
    ]
    write_report(models, tmp_path / "report")
    assert [line["model"] for line in numbers(tmp_path / "report", "table1")] == ["run", "mine"]
    figures = {path.stem for path in (tmp_path / "report" / "figures").iterdir()}
    assert figures == {"class-samples-run", "risk-coverage-run", "risk-coverage-mine"}
    assert [line["model"] for line in numbers(tmp_path / "report", "not-run")] == ["run", "mine"]


def test_a_run_made_before_an_audit_existed_still_reports(
    sixth: str, trained: Run, tmp_path: Path
) -> None:
    text = write_report([trained], tmp_path).read_text()
    assert "<h2>Label noise</h2>" not in text
    assert [(line["model"], line["audits"]) for line in numbers(tmp_path, "not-run")] == [
        (trained.name, [sixth])
    ]


def test_a_registered_audit_is_shown_without_a_section_of_its_own(
    sixth: str, folder, tmp_path: Path
) -> None:
    run = folder()
    Record(sixth, {"flipped": 0.125, "flipped_ci": [0.1, 0.2]}, {"x": np.zeros(1)}).save(
        run.records
    )
    text = write_report([run], tmp_path / "report").read_text()
    assert "<h2>Label noise</h2>" in text
    assert "0.125 [0.1, 0.2]" in text
    assert "What was not run" not in text
    assert numbers(tmp_path / "report", "label-noise") == [
        {"model": "run", "flipped": 0.125, "flipped_ci": [0.1, 0.2]}
    ]


def test_a_section_can_be_registered(
    sixth: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sections, "_REGISTERED", {})
    part = sections.Part("How labels flip", words=lambda model: f"{model.name} flips")
    sections.register(sections.Section(sixth, (part,), lambda models: "Labels flip."))
    text = write_report([AuditedModel("mine", [Record(sixth, {}, {})])], tmp_path).read_text()
    assert "<h2>How labels flip</h2>" in text
    assert '<p data-model="mine">mine flips</p>' in text
    assert '<p class="verdict">Labels flip.</p>' in text


@pytest.mark.parametrize(
    "summary",
    [
        {},
        {"threshold": "high"},
        {"detector": "mine", "table1": {}, "threshold": None},
        {"n": {"m": {"k": 1}}},
    ],
)
@pytest.mark.parametrize(
    "audit", ["from-elsewhere", "origins", "table1", "mine.audits:AUDIT", "section"]
)
def test_a_record_of_an_unknown_audit_breaks_no_page(
    audit: str, summary: dict[str, object], records: dict[str, Record], tmp_path: Path
) -> None:
    model = AuditedModel("mine", [*records.values(), Record(audit, dict(summary), {})])
    text = write_report([model], tmp_path).read_text()
    assert sections.section_of(audit).parts[0].title in text
    assert (
        numbers(tmp_path, "table1")[0]["accuracy"] == records["classification"].summary["accuracy"]
    )
    assert numbers(tmp_path, "origins")[0]["model"] == "mine"


def test_a_damaged_record_of_an_unknown_audit_is_left_out(folder, tmp_path: Path) -> None:
    run = folder("samples")
    (run.records / "from-elsewhere.json").write_text("[]")
    (run.records / "from-elsewhere.npz").write_bytes(
        next(run.records.glob("samples.*.npz")).read_bytes()
    )
    write_report([run], tmp_path / "report")
    line = numbers(tmp_path / "report", "not-run")[-1]
    assert line["audits"] == ["from-elsewhere"]
    assert "damaged" in str(line["reason"])


def test_a_damaged_record_of_a_known_audit_is_refused(folder, tmp_path: Path) -> None:
    run = folder("samples", "classification")
    next(run.records.glob("samples.*.npz")).write_bytes(b"")
    with pytest.raises(CondgenError, match=r"samples\.json/\.npz is damaged"):
        write_report([run], tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_a_damaged_log_is_refused(folder, tmp_path: Path) -> None:
    run = folder("samples")
    MetricsFile(run.path).log({"epoch": 1}, 19)
    log = run.path / LOG
    log.write_text(log.read_text().replace('"epoch": 1', '"epoch": 2'))
    with pytest.raises(RunError, match=r"damaged \(line 1: sha256 differs\)"):
        write_report([run], tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_a_record_that_lacks_a_number_is_one_sentence(
    records: dict[str, Record], tmp_path: Path
) -> None:
    lacking = {
        key: value for key, value in records["label-likelihood"].summary.items() if key != "auroc"
    }
    with pytest.raises(
        CondgenError, match="a record has no 'auroc': it is damaged, or of another version"
    ):
        write_report(
            [AuditedModel("m", [replace(records["label-likelihood"], summary=lacking)])],
            tmp_path / "report",
        )
    assert not (tmp_path / "report").exists()


def test_a_model_without_records_is_refused(folder, tmp_path: Path) -> None:
    run = folder("samples")
    shutil.rmtree(run.records)
    with pytest.raises(CondgenError, match=r"run has no record; run `condgen audit .*run` first"):
        write_report([run], tmp_path / "report")


def test_another_threshold_recomputes_what_records_allow(
    folder, records: dict[str, Record], tmp_path: Path
) -> None:
    write_report([folder()], tmp_path / "report", threshold=4.5)
    accepted = records["classification"].arrays["score"] <= 4.5
    (line,) = numbers(tmp_path / "report", "table1")
    assert line["threshold"] == 4.5
    assert line["accepted"] == accepted.mean() < records["classification"].summary["accepted"]
    (path,) = numbers(tmp_path / "report", "interpolation")
    scores = records["interpolation"].arrays["score"]
    kept = scores[(scores[:, [0, -1]] <= 4.5).all(1)]
    assert path["accepted_at_every_step"] == pytest.approx((kept <= 4.5).all(1).mean())
    assert not (tmp_path / "report" / "tables" / "table2.json").exists()
    gone, also = numbers(tmp_path / "report", "not-run")
    assert (gone["audits"], also["audits"]) == (["adversarial"], ["snapshots"])
    assert gone["reason"] == (
        "made with the threshold 5.00 bits/dim; another one needs a new audit: condgen audit RUN"
        " --only adversarial --set detector.threshold=4.5"
    )
    assert (tmp_path / "report" / "figures" / "label-likelihood-histogram-run.svg").exists()


def test_the_threshold_that_records_have_leaves_nothing_out(
    records: dict[str, Record], tmp_path: Path
) -> None:
    write_report([AuditedModel("m", list(records.values()))], tmp_path, threshold=5.0)
    assert not (tmp_path / "tables" / "not-run.json").exists()


def test_a_threshold_that_no_pair_passes_is_said(
    records: dict[str, Record], tmp_path: Path
) -> None:
    write_report(
        [AuditedModel("m", [records["interpolation"], records["samples"]])], tmp_path, threshold=0.5
    )
    reasons = {str(line["audits"]): str(line["reason"]) for line in numbers(tmp_path, "not-run")}
    assert "accepts the ends of 0 pairs" in reasons["['interpolation']"]


def test_the_page_asks_about_the_detector_that_was_used(
    typical: dict[str, Record], records: dict[str, Record], tmp_path: Path
) -> None:
    asked = []
    for each in (records, typical):
        text = write_report([AuditedModel("m", list(each.values()))], tmp_path).read_text()
        asked.append(text.partition("<h1>")[2].partition("</h1>")[0])
    assert "likelihood" in asked[0]
    assert "likelihood" not in asked[1]


def test_sections_of_the_caller_come_first(records: dict[str, Record], tmp_path: Path) -> None:
    figure = Figure(figsize=(2, 2))
    figure.subplots().plot([0, 1], [0, 1])
    table = Table(
        "table1", "Ours & the paper's", "", ("run", "ours"), (("a", "1"),), ({"run": "a"},)
    )
    study = PageSection(
        "A study", table, [("sweep", "one metric", figure), ("", "All is done.", None)]
    )
    text = write_report(
        [AuditedModel("m", [records["classification"]])], tmp_path, extra=[study]
    ).read_text()
    assert text.index("<h2>A study</h2>") < text.index(
        "<h2>Table 1: classification and likelihood</h2>"
    )
    assert "<figcaption>one metric</figcaption>" in text
    assert "All is done." in text
    assert (tmp_path / "figures" / "sweep.svg").exists()
    assert numbers(tmp_path, "table1") == [{"run": "a"}]
    assert "accuracy" in numbers(tmp_path, "table1-2")[0]  # same name, both tables are kept


def test_records_of_older_versions_are_shown(tmp_path: Path) -> None:
    runs = [open_folder(path.parent) for path in sorted(SAVED.glob("small/*/config.toml"))]
    assert runs
    text = write_report(runs, tmp_path).read_text()
    attacked = {run.name for run in runs if "adversarial" in run.audits_made()}
    assert 1 <= len(attacked) < len(runs)
    assert "What was not run" in text
    assert [line["model"] for line in numbers(tmp_path, "origins")] == [run.name for run in runs]
    assert {line["model"] for line in numbers(tmp_path, "table2")} == attacked


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
    assert len(columns[0]) == pytest.approx(2 * len(columns[1]), rel=0.1)  # 4 and 2 images


def test_images_that_are_no_squares_keep_their_shape() -> None:
    grid = image_grid(np.zeros((4, 3, 10, 20)), ["a", "b"])
    left, right, bottom, top = grid.axes[0].images[3].get_extent()
    assert right - left == pytest.approx(2 * (bottom - top))
    assert 1 <= left < right <= 2
    assert 1 <= top < bottom <= 2


def test_the_page_opens_with_question_answer_figure_and_contents(
    records: dict[str, Record], tmp_path: Path
) -> None:
    text = write_report([AuditedModel("m", list(records.values()))], tmp_path).read_text()
    places = [text.index(found) for found in ("<h1>", 'class="answer"', 'class="lead"', "<nav>")]
    assert places == sorted(places)
    assert places[-1] < text.index('<section id="findings">')
    answer = text.split('<p class="answer">')[1].split("</p>")[0]
    assert answer.endswith(".")
    assert ("detector-aware attacks evade the detector on" in answer) == answer.startswith("No")
    links = re.findall(r'href="#([^"]+)"', text)
    assert len(links) > 5
    assert all(f'id="{link}"' in text for link in links)
    titles = re.findall(r"<h2>(.*?)</h2>", text)
    named = [title.partition(":")[0] for title in titles]
    order = [named.index(t) for t in ("Table 1", "Fig. 3", "Table 2", "Figs. 4 and 6", "Fig. 5")]
    assert order == sorted(order)  # as in the paper


@pytest.mark.parametrize(
    ("preset", "accuracy"), [("mnist-split", "99.3, 1.00"), ("digits-base", None)]
)
def test_the_numbers_of_the_paper_stand_beside_ours(
    preset: str, accuracy: str | None, records: dict[str, Record], tmp_path: Path
) -> None:
    run = Run.create(tmp_path / "run", load_preset(preset))
    for audit in ("classification", "adversarial", "interpolation"):
        records[audit].save(run.records)
    text = write_report([run], tmp_path / "report").read_text()
    assert ("paper: accuracy %" in text) == (accuracy is not None)
    assert accuracy is None or f"<td>{accuracy}</td>" in text
    (row,) = numbers(tmp_path / "report", "table1")
    ours = f"{100 * row['accuracy'] - 99.3:+.1f}, {row['bits_per_dim'] - 1:+.2f}"
    assert (f"<td>{ours}</td>" in text) == (accuracy is not None)
    assert ("<td>0.5</td>" in text) == (accuracy is not None)  # paths accepted, Sec. 4.4
    assert ("1, 14" in text) == (accuracy is not None)  # Carlini-Wagner, Table 2


@pytest.mark.parametrize(
    ("preset", "overrides", "expected"),
    [
        ("cifar10-pixelcnn", [], (25.48, 3.05)),
        ("cifar10-pixelcnn-small", ["objective=reweight", "objective.alpha=1000"], (85.78, 3.34)),
        ("cifar10-pixelcnn-small", ["objective=reweight", "objective.alpha=0.3255"], (85.78, 3.34)),
        ("cifar10-pixelcnn-small", ["objective=reweight", "objective.alpha=2"], None),
        ("mnist-pixelcnn-small", [], None),
    ],
)
def test_table_4_is_that_of_pixelcnn_on_cifar10(
    preset: str, overrides: list[str], expected: tuple[float, float] | None, tmp_path: Path
) -> None:
    run = Run.create(tmp_path / "run", load_preset(preset, overrides))
    assert classification_of(run) == expected
