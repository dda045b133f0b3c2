"""The facts in a record about its model and detector, for another threshold."""

from typing import Any

from condgen.audits.records import Record

ABOUT = ("class_prior", "warnings", "simple_densities")  # do not depend on the threshold


def at(record: Record, threshold: float) -> tuple[dict[str, Any], dict[str, Any]]:
    """The detector's summary with another threshold, and the facts about the model.

    Warnings about the former threshold are dropped.
    """
    noted = record.summary.get("detector", {})
    detector = {
        "name": "likelihood",
        "unit": "bits/dim",
        **{key: noted[key] for key in noted if key != "warnings"},
    }
    return {**detector, "threshold": threshold}, {
        key: record.summary[key] for key in ABOUT if key in record.summary
    }
