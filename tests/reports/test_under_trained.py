"""A model that does not beat all simple densities is marked wherever it is shown."""

from dataclasses import replace
from pathlib import Path

import pytest

from condgen import AuditedModel, write_report
from condgen.audits import Record
from condgen.audits.classification import BETTER_THAN_SIMPLE, summarize
from condgen.reports.under_trained import MARK, is_under_trained

DETECTOR = {"name": "likelihood", "unit": "bits/dim", "threshold": 5.0}


def with_simple(record: Record, found: dict[str, float]) -> Record:
    """The record of the same model with other simple densities."""
    return replace(
        record,
        summary=summarize(
            record.arrays, DETECTOR, {"class_prior": "uniform", "simple_densities": found}
        ),
    )


@pytest.mark.parametrize(("best", "passed"), [(0.5, False), (2.0, True), (None, None)])
def test_the_interval_must_lie_below_the_best_simple_density(
    records: dict[str, Record], best, passed
) -> None:
    low, high = records["classification"].summary["bits_per_dim_ci"]
    for value in [] if best is None else [best * low, low if best < 1 else 1.001 * high]:
        record = with_simple(records["classification"], {"uniform": 99.0, "Gaussian": value})
        (check,) = record.summary["checks"]
        assert (check["name"], check["passed"]) == (BETTER_THAN_SIMPLE, passed)
        assert f"Gaussian {value:.3f}" in check["found"]
        assert is_under_trained(AuditedModel("m", [record])) is not passed
    if best is None:
        record = with_simple(records["classification"], {})
        assert "checks" not in record.summary
        assert not is_under_trained(AuditedModel("m", [record]))


def test_the_page_marks_an_under_trained_model_and_no_other(
    records: dict[str, Record], tmp_path: Path
) -> None:
    rest = [record for name, record in records.items() if name != "classification"]
    models = [
        AuditedModel(name, [with_simple(records["classification"], {"Gaussian": best}), *rest])
        for name, best in {"weak": 0.01, "strong": 99.0}.items()
    ]
    text = write_report(models, tmp_path / "both").read_text()
    first = text.split('<p class="verdict">')[1].split("</p>")[0]
    assert "Under-trained (†): weak is no better than a simple density" in first
    assert f"<td>weak {MARK}</td>" in text or f">weak {MARK}<" in text
    assert f"strong {MARK}" not in text
    tables = text.count(f"weak {MARK}")
    assert tables >= 5  # Table 1, the check, rejection, label likelihood, paths, attacks
    assert f"{MARK}" not in (tmp_path / "both" / "tables" / "table1.csv").read_text()
    assert MARK not in write_report(models[1:], tmp_path / "strong").read_text()


def test_the_mark_survives_another_threshold(records: dict[str, Record], tmp_path: Path) -> None:
    weak = AuditedModel("weak", [with_simple(records["classification"], {"Gaussian": 0.01})])
    assert f"weak {MARK}" in write_report([weak], tmp_path / "other", threshold=4.0).read_text()
