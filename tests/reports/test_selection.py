"""All records of a page are of one model and one detector."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from condgen import AuditedModel, Run, experiments, load_preset
from condgen.audits import Record
from condgen.errors import RunError
from condgen.reports import write_report
from condgen.reports.origins import command, origins_table
from condgen.reports.selection import select
from condgen.runs import RecordFolder
from tests.conftest import TINY

QUICK = ("classification", "label-likelihood", "interpolation", "samples")
DETECTED = (
    " --only classification --only interpolation --only adversarial --only snapshots"
    " --set detector.threshold"
)


def test_records_of_a_run_that_was_trained_further_are_not_shown_as_the_finished_models(
    tmp_path: Path,
) -> None:
    config = load_preset("digits-base", [*TINY, "training.learning_rate=0.01"])
    run = experiments.train(config, tmp_path / "run", minutes=0, quiet=True)
    while not run.epochs_done:  # a step each
        run = experiments.train(config, run.path, minutes=0, resume=True, quiet=True)
    experiments.audit(run, QUICK, quiet=True)
    page = write_report([run], tmp_path / "report").read_text()
    assert f"epoch 1 ({run.weights_sha256[:8]})" in page
    run = experiments.train(config, run.path, resume=True, quiet=True)
    experiments.audit(run, ["label-likelihood"], quiet=True)
    with pytest.raises(
        RunError, match="classification: epoch 1, interpolation: epoch 1, samples: epoch 1"
    ) as refused:
        write_report([run], tmp_path / "report")
    assert (
        f"condgen audit {run.path} --only classification --only interpolation --only samples"
        in str(refused.value)
    )
    assert (tmp_path / "report" / "index.html").read_text() == page
    experiments.audit(run, [name for name in QUICK if name != "label-likelihood"], quiet=True)
    assert "epoch 2 (" in write_report([run], tmp_path / "report").read_text()


def test_records_of_two_weights_are_not_shown_together(folder, tmp_path: Path) -> None:
    run = folder("classification", "samples", classification="1a", samples="2b")
    assert run.weights_sha256 == ""  # as in published records
    with pytest.raises(
        RunError, match=r"of different weights \(classification: epoch 1, samples: epoch 2\)"
    ):
        write_report([run], tmp_path / "report")
    model = AuditedModel("mine", [run.record("classification"), run.record("samples")])
    with pytest.raises(
        RunError, match=r"records of mine are of different weights .*audit it again\.$"
    ):
        write_report([model], tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_records_of_two_detectors_are_not_shown_together(copied: Run, tmp_path: Path) -> None:
    experiments.audit(copied, ["interpolation"], overrides=["detector.threshold=9.5"], quiet=True)
    with pytest.raises(RunError, match=rf"interpolation: likelihood 9\.5 bits/dim.*{DETECTED}"):
        write_report([copied], tmp_path / "report")
    assert not (tmp_path / "report").exists()
    write_report([copied], tmp_path / "report", threshold=9.5)  # one threshold for all records
    assert select(copied, 9.5).audits_made() == list(QUICK)


@pytest.mark.parametrize("other", [{"name": "entropy"}, {"unit": "nats"}, {"threshold": 5.1}])
def test_detectors_differ_by_name_unit_and_threshold(
    other: dict[str, object], records: dict[str, Record], tmp_path: Path
) -> None:
    detector = {**records["interpolation"].summary["detector"], **other}
    summary = {**records["interpolation"].summary, "detector": detector}
    model = AuditedModel(
        "m", [records["classification"], replace(records["interpolation"], summary=summary)]
    )
    with pytest.raises(
        RunError,
        match=r"records of m were made with different detectors \(classification: likelihood 5",
    ):
        write_report([model], tmp_path / "report")


def test_unknown_audits_are_left_out_where_known_ones_are_refused(
    records: dict[str, Record],
) -> None:
    known = replace(records["classification"], origin={"weights": "aaaa", "epoch": 1})
    stale = Record("a-stale", {}, {}, {"weights": "bbbb", "epoch": 2})
    other = Record("b-other", {"threshold": 9.0}, {}, {"weights": "aaaa"})
    fine = Record("c-fine", {"threshold": 5.0}, {}, {})
    shown = select(AuditedModel("m", [stale, other, fine, known]))
    assert shown.audits_made() == ["classification", "c-fine"]
    assert shown.left_out == {
        "a-stale": "made with other weights (epoch 2).",
        "b-other": "made with another detector (likelihood 9 bits/dim).",
    }
    moved = select(AuditedModel("m", [fine, Record("free", {}, {})]), threshold=6.0)
    assert moved.audits_made() == ["free"]
    assert "c-fine" in moved.left_out


def test_a_record_says_what_it_was_made_with(trained: Run) -> None:
    origin = trained.record("interpolation").origin
    assert origin["weights"] == trained.weights_sha256 != ""
    assert origin["seed"] == trained.config.seed
    assert origin["settings"]["pairs"] == 6
    assert origin["versions"]["torch"] == trained.config.versions["torch"]
    assert "origin" not in trained.record("interpolation").summary


def test_records_without_their_checkpoint_or_origin_are_taken_as_they_are(
    copied: Run, tmp_path: Path
) -> None:
    for state in copied.path.glob("checkpoint/*/state.toml"):
        state.unlink()
    assert copied.weights_sha256 == ""
    assert (
        f"epoch {copied.record('samples').origin['epoch']} ("
        in write_report([copied], tmp_path / "report").read_text()
    )
    for name in copied.audits_made():
        replace(copied.record(name), origin={}).save(copied.records)
        assert json.loads((copied.records / f"{name}.json").read_text())["origin"] == {}
    assert "not recorded" in write_report([copied], tmp_path / "report").read_text()


def test_an_origin_of_another_kind_is_taken_as_none(copied: Run, tmp_path: Path) -> None:
    replace(copied.record("samples"), origin={"made": "elsewhere"}).save(copied.records)
    assert copied.name in write_report([copied], tmp_path / "report").read_text()


def test_a_model_from_elsewhere_has_no_training_of_its_own(
    records: dict[str, Record], tmp_path: Path
) -> None:
    config = load_preset("digits-base", TINY)
    subject = RecordFolder.kind(
        **{name: getattr(config, name) for name in ("data", "model", "detector", "seed")}
    )
    folder = RecordFolder.create(tmp_path / "theirs", subject)
    replace(records["samples"], origin={"weights": "0123456789"}).save(folder.records)
    (row,) = origins_table([select(folder)]).numbers
    assert row["model"] == "theirs"
    assert row["architecture"] == config.model.words
    assert (row["objective"], row["epochs"]) == ("trained elsewhere", "trained elsewhere")
    assert row["weights of"] == "01234567"
    write_report([folder], tmp_path / "report")


def test_what_own_models_note_is_shown(records: dict[str, Record]) -> None:
    origin = {"weights": "0123456789", "seed": 7, "versions": {"torch": "2.9", "condgen": "0.2"}}
    (row,) = origins_table(
        [select(AuditedModel("m", [replace(records["samples"], origin=origin)]))]
    ).numbers
    assert (row["weights of"], row["seed"], row["versions"]) == (
        "01234567",
        "7",
        "condgen 0.2, torch 2.9",
    )


def test_the_command_of_a_run_gives_its_settings_again(tmp_path: Path) -> None:
    changed = ["training.epochs=3", "model.precision=bfloat16", "objective.alpha=0.25"]
    config = load_preset("digits-reweight", changed).model_copy(update={"seed": 7})
    run = Run(tmp_path, config.model_copy(update={"preset": "digits-reweight"}))
    said = command(run).split(" --set ")
    assert said[0] == "condgen train digits-reweight --seed 7"
    again = load_preset("digits-reweight", said[1:])
    assert again.training == config.training
    assert again.objective == config.objective


def test_the_page_says_when_and_on_which_data(trained: Run, tmp_path: Path) -> None:
    text = write_report([trained], tmp_path / "report").read_text()
    (row,) = json.loads((tmp_path / "report/tables/origins.json").read_text())
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", row["trained"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\d( to \d{4}-\d\d-\d\d)?", row["audited"])
    (data,) = json.loads((tmp_path / "report/tables/data.json").read_text())
    assert (data["data"], data["shape"], data["classes"]) == ("digits", "1x8x8", "10")
    assert "<h2>Data</h2>" in text
