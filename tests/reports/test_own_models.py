"""A model of one's own has a page like a run's: a section for each audit that was made, and none for the others."""

import json
from pathlib import Path

import numpy as np
import pytest

from condgen import (
    AuditedModel,
    DiagonalGaussian,
    GenerativeClassifier,
    LikelihoodThreshold,
    audits,
    open_dataset,
    write_report,
)
from condgen.audits import Record
from condgen.errors import CondgenError, RunError
from condgen.runs import Run

SECTIONS = {
    "classification": "<h2>Classification and likelihood</h2>",
    "membership": "<h2>Label membership</h2>",
    "interpolation": "<h2>Between classes</h2>",
    "adversarial": "<h2>Attacks</h2>",
    "samples": "<h2>Samples per class</h2>",
}


@pytest.fixture(scope="module")
def records() -> dict[str, Record]:
    splits = open_dataset("digits")
    classifier = GenerativeClassifier(DiagonalGaussian.fitted(*splits.train.batch(slice(None)), pixel_levels=17)).eval()
    detector = LikelihoodThreshold(5.0)
    made = [
        audits.classification(classifier, splits.test, detector=detector),
        audits.membership(classifier, splits.test),
        audits.interpolation(classifier, splits.test, detector=detector, pairs=6, quiet=True),
    ]
    return {record.audit: record for record in made}


@pytest.mark.parametrize(
    "made", [("membership",), ("classification", "interpolation"), ("classification", "membership", "interpolation")]
)
def test_the_page_has_a_section_for_each_audit_that_was_made(
    made: tuple[str, ...], records: dict[str, Record], tmp_path: Path
) -> None:
    text = write_report([AuditedModel("mine", [records[audit] for audit in made])], tmp_path).read_text()
    assert {audit for audit, title in SECTIONS.items() if title in text} == set(made)
    assert ("is open." in text) == ("interpolation" not in made)
    assert json.loads((tmp_path / "tables" / "origins.json").read_text())[0]["weights of"] == "not noted"


def test_a_page_shows_own_models_beside_runs(trained: Run, records: dict[str, Record], tmp_path: Path) -> None:
    page = write_report([trained, AuditedModel("mine", list(records.values()))], tmp_path)
    of = {name: json.loads((tmp_path / "tables" / f"{name}.json").read_text()) for name in ("table1", "table2", "origins")}
    assert [row["model"] for row in of["table1"]] == [row["model"] for row in of["origins"]] == [trained.name, "mine"]
    assert {row["model"] for row in of["table2"]} == {trained.name}
    assert of["table1"][1]["accuracy"] == records["classification"].summary["accuracy"]
    assert f"{trained.weights_sha256[:8]}" in page.read_text()


def test_classes_have_the_names_that_are_given(records: dict[str, Record], tmp_path: Path) -> None:
    names = [f"the {y}" for y in range(10)]
    write_report([AuditedModel("mine", [records["interpolation"]], names)], tmp_path)
    assert AuditedModel("mine", [records["interpolation"]], range(10, 20)).class_name(3) == "13"
    first, second = records["interpolation"].arrays["label"][0]
    drawn = (tmp_path / "figures" / "interpolation-examples-mine.svg").read_text()
    assert f"from class the {first} to class the {second}" in drawn


def test_two_detectors_are_not_shown_together(records: dict[str, Record], tmp_path: Path) -> None:
    other = Record("interpolation", {**records["interpolation"].summary, "threshold": 9.5}, records["interpolation"].arrays)
    with pytest.raises(RunError, match=r"records of mine .*classification: 5, interpolation: 9\.5.*again with one\.$"):
        write_report([AuditedModel("mine", [records["classification"], other])], tmp_path / "report")
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize("name", ["", " ", "a/b", "a:b", "..", 3, np.str_("a\nb"), "a\0b", "$_$"])
def test_a_name_that_cannot_be_part_of_a_file_name_is_refused(name: str, records: dict[str, Record]) -> None:
    with pytest.raises(CondgenError, match="cannot be part of a file name; name the model in letters"):
        AuditedModel(name, [records["membership"]])


def test_what_is_no_list_of_records_is_refused(records: dict[str, Record]) -> None:
    one = records["membership"]
    for given, said in (
        ([], "mine has no record; give at least one of classification, "),
        (one, "expected as a list of what audits return"),
        ([one.summary], "expected as a list of what audits return"),
        (None, "expected as a list of what audits return"),
        ([one, one], "two records of membership"),
        ([Record("counterexample", {}, {})], "no section for counterexample"),
    ):
        with pytest.raises(CondgenError, match=said):
            AuditedModel("mine", given)


def test_a_record_that_was_not_given_is_named(records: dict[str, Record]) -> None:
    with pytest.raises(RunError, match="mine has no record of the samples audit"):
        AuditedModel("mine", [records["membership"]]).record("samples")


@pytest.mark.parametrize("given", ["run", Path("run"), Record("membership", {}, {})])
def test_what_is_no_audited_model_is_refused(given: object, tmp_path: Path) -> None:
    for models in (given, [given]):
        with pytest.raises(CondgenError, match=r"expected a list of audited models.*Run\.open.*AuditedModel"):
            write_report(models, tmp_path / "report")


def test_folders_may_be_given_as_text(trained: Run, records: dict[str, Record], tmp_path: Path) -> None:
    one = records["membership"]
    one.save(str(tmp_path / "records"))
    again = Record.load(str(tmp_path / "records"), "membership")
    page = write_report([Run.open(str(trained.path)), AuditedModel("mine", [again])], str(tmp_path / "report"))
    assert page == tmp_path / "report" / "index.html"
    assert len(open_dataset("digits", data_dir=str(tmp_path)).test) == 360
