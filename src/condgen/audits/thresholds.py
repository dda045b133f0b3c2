"""What a record says of its model and detector, for another threshold."""

from typing import Any

from condgen.audits.records import Record

ABOUT = ("class_prior", "warnings", "simple_densities")  # of the model: no threshold changes them


def at(record: Record, threshold: float) -> tuple[dict[str, Any], dict[str, Any]]:
    """The detector with another threshold, and what is known of the model; warnings about the former threshold are dropped."""
    noted = record.summary.get("detector", {})
    detector = {
        "name": "likelihood",
        "unit": "bits/dim",
        **{key: noted[key] for key in noted if key != "warnings"},
    }
    return {**detector, "threshold": threshold}, {
        key: record.summary[key] for key in ABOUT if key in record.summary
    }
