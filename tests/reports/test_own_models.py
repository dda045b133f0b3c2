"""Reports of user-defined models: a section for each audit that was run."""

import json
from pathlib import Path

import numpy as np
import pytest

from condgen import AuditedModel, open_dataset, write_report
from condgen.audits import Record
from condgen.errors import CondgenError, RunError
from condgen.registry import AUDITS
from condgen.runs import Run

SECTIONS = {
    "classification": "<h2>Table 1: classification and likelihood</h2>",
    "label-likelihood": "<h2>Fig. 3: label likelihood</h2>",
    "interpolation": "<h2>Figs. 4 and 6: paths between classes</h2>",
    "adversarial": "<h2>Table 2: attacks</h2>",
    "samples": "<h2>Fig. 5: samples of each class</h2>",
}


@pytest.mark.parametrize(
    "made",
    [
        ("label-likelihood",),
        ("classification", "interpolation"),
        ("classification", "label-likelihood", "interpolation"),
    ],
)
def test_the_page_has_a_section_for_each_audit_that_was_made(
    made: tuple[str, ...], records: dict[str, Record], tmp_path: Path
) -> None:
    text = write_report(
        [AuditedModel("mine", [records[audit] for audit in made])], tmp_path
    ).read_text()
    assert {audit for audit, title in SECTIONS.items() if title in text} == set(made)
    assert ("whether it can be trusted is unknown" in text) == ("interpolation" not in made)
    assert (
        json.loads((tmp_path / "tables" / "origins.json").read_text())[0]["weights of"]
        == "not recorded"
    )


def test_a_page_shows_own_models_beside_runs(
    trained: Run, records: dict[str, Record], tmp_path: Path
) -> None:
    page = write_report(
        [trained, AuditedModel("mine", [records[audit] for audit in list(records)[:4]])], tmp_path
    )
    of = {
        name: json.loads((tmp_path / "tables" / f"{name}.json").read_text())
        for name in ("table1", "table2", "origins")
    }
    assert (
        [row["model"] for row in of["table1"]]
        == [row["model"] for row in of["origins"]]
        == [trained.name, "mine"]
    )
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


@pytest.mark.parametrize("name", ["", " ", "a/b", "a:b", "..", 3, np.str_("a\nb"), "a\0b", "$_$"])
def test_a_name_that_cannot_be_part_of_a_file_name_is_refused(
    name: str, records: dict[str, Record]
) -> None:
    with pytest.raises(
        CondgenError, match="cannot be part of a file name; name the model in letters"
    ):
        AuditedModel(name, [records["label-likelihood"]])


def test_what_is_no_list_of_records_is_refused(records: dict[str, Record]) -> None:
    one = records["label-likelihood"]
    for given, said in (
        ([], "mine has no record; give at least one of classification, "),
        (one, "expected a list of records; give what the audits returned"),
        ([one.summary], "expected a list of records; give what the audits returned"),
        (None, "expected a list of records; give what the audits returned"),
        ([one, one], "two records of label-likelihood"),
    ):
        with pytest.raises(CondgenError, match=said):
            AuditedModel("mine", given)


def test_audits_are_listed_in_the_order_of_the_page(records: dict[str, Record]) -> None:
    given = [Record("of-my-own", {}, {}), *reversed(records.values())]
    assert AuditedModel("mine", given).audits_made() == [*AUDITS.names(), "of-my-own"]


def test_a_record_that_was_not_given_is_named(records: dict[str, Record]) -> None:
    with pytest.raises(RunError, match="mine has no record of the samples audit"):
        AuditedModel("mine", [records["label-likelihood"]]).record("samples")


@pytest.mark.parametrize("given", ["run", Path("run"), Record("label-likelihood", {}, {})])
def test_what_is_no_audited_model_is_refused(given: object, tmp_path: Path) -> None:
    for models in (given, [given]):
        with pytest.raises(
            CondgenError, match=r"expected a list of audited models.*Run\.open.*AuditedModel"
        ):
            write_report(models, tmp_path / "report")


def test_folders_may_be_given_as_text(
    trained: Run, records: dict[str, Record], tmp_path: Path
) -> None:
    one = records["label-likelihood"]
    one.save(str(tmp_path / "records"))
    again = Record.load(str(tmp_path / "records"), "label-likelihood")
    page = write_report(
        [Run.open(str(trained.path)), AuditedModel("mine", [again])], str(tmp_path / "report")
    )
    assert page == tmp_path / "report" / "index.html"
    assert len(open_dataset("digits", data_dir=str(tmp_path)).test) == 360
