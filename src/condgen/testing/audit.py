"""Conformance checks for an audit."""

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from condgen.audits import Audit, Record, Subject
from condgen.audits.checks import Check
from condgen.config import AuditSettings
from condgen.errors import CondgenError
from condgen.files import as_json

INTERVAL = "_ci"


def check_audit(
    audit: Audit, subject: Subject, settings: AuditSettings | None = None
) -> list[Check]:
    """Check what records, reports and studies rely on in an audit.

    Args:
        audit: The audit; it is made twice, so give it settings that take seconds.
        subject: A model on a small data set.
        settings: Default: the audit's own.

    Returns:
        One :class:`Check` for: the record and its name, JSON, saving and loading, repeatability,
        the model left unchanged, intervals that contain their numbers, and the same threshold.

    Raises:
        CondgenError: If the audit cannot be made of this subject.

    Examples:
        >>> from condgen import DiagonalGaussian, LikelihoodThreshold, open_dataset
        >>> from condgen.classifier import GenerativeClassifier
        >>> from condgen.registry import AUDITS
        >>> splits = open_dataset("digits")
        >>> density = DiagonalGaussian.fitted(*splits.train.batch(slice(None)), pixel_levels=17)
        >>> classifier = GenerativeClassifier(density).eval()
        >>> subject = Subject("mine", classifier, splits, LikelihoodThreshold(5.0), quiet=True)
        >>> all(check.passed for check in check_audit(AUDITS.get("label-likelihood"), subject))
        True
    """
    settings = settings or audit.settings()
    before = _weights(subject)
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        made, again = (
            audit.make(replace(subject, directory=Path(place)), settings)
            for place in (first, second)
        )
    if not isinstance(made, Record) or made.audit != audit.name:
        found = (
            f"a record of '{made.audit}'"
            if isinstance(made, Record)
            else f"a {type(made).__name__}"
        )
        advice = f"make must return Record('{audit.name}', summary, arrays)."
        return [Check("record", False, found, advice)]
    return [
        Check(
            "record", True, f"{len(made.summary)} numbers and lists, {len(made.arrays)} arrays", ""
        ),
        _json(made),
        _saved(made),
        _repeatable(made, again),
        _unchanged(before, _weights(subject)),
        _intervals(made),
        _same_threshold(audit, made),
    ]


def _weights(subject: Subject) -> tuple[bool, list[torch.Tensor]]:
    density = subject.classifier.density
    return density.training, [tensor.detach().clone() for tensor in density.state_dict().values()]


def _json(record: Record) -> Check:
    try:
        json.dumps(as_json(record.summary), allow_nan=False)
    except (TypeError, ValueError) as error:
        return Check(
            "JSON", False, str(error), "Give numbers, texts, lists and mappings in the summary."
        )
    return Check("JSON", True, "the summary is JSON", "")


def _saved(record: Record) -> Check:
    advice = "Give arrays of numbers or texts."
    with tempfile.TemporaryDirectory() as place:
        try:
            record.save(place)
            loaded = Record.load(place, record.audit)
        except CondgenError as error:
            return Check("saved and loaded", False, str(error), advice)
    same = loaded.summary == as_json(record.summary) and _equal(loaded, record)
    return Check("saved and loaded", same, "equal" if same else "differs after loading", advice)


def _repeatable(made: Record, again: Record) -> Check:
    same = as_json(made.summary) == as_json(again.summary) and _equal(made, again)
    advice = "Draw random numbers from streams of subject.seed, and keep times out of the record."
    return Check("repeatable", same, "equal" if same else "the second record differs", advice)


def _equal(first: Record, second: Record) -> bool:
    if first.arrays.keys() != second.arrays.keys():
        return False
    pairs = [(first.arrays[name], second.arrays[name]) for name in first.arrays]
    return all(
        np.array_equal(one, other, equal_nan=np.issubdtype(one.dtype, np.floating))
        for one, other in pairs
    )


def _unchanged(
    before: tuple[bool, list[torch.Tensor]], after: tuple[bool, list[torch.Tensor]]
) -> Check:
    changed = sum(not torch.equal(*pair) for pair in zip(before[1], after[1], strict=True))
    return Check(
        "the model is unchanged",
        changed == 0 and before[0] == after[0],
        f"{changed} of {len(before[1])} tensors changed",
        "Restore the model's mode and weights, or work on a copy.",
    )


def _intervals(record: Record) -> Check:
    outside = [
        name
        for name, value, ends in _with_interval(record.summary)
        if not ends[0] <= value <= ends[1]
    ]
    return Check(
        "intervals contain their numbers",
        not outside,
        f"outside: {', '.join(outside) or 'none'}",
        "A number NAME has its 95 % interval as NAME_ci = [low, high].",
    )


def _with_interval(summary: Mapping[str, Any]) -> Iterator[tuple[str, float, list[float]]]:
    """Numbers with an interval, in nested tables and lists too."""
    for key, value in summary.items():
        if isinstance(value, Mapping):
            yield from _with_interval(value)
        elif isinstance(value, list):
            for item in value:
                if isinstance(item, Mapping):
                    yield from _with_interval(item)
        ends = summary.get(f"{key}{INTERVAL}")
        if isinstance(value, (int, float)) and isinstance(ends, (list, tuple)) and None not in ends:
            yield key, float(value), [float(end) for end in ends]


def _same_threshold(audit: Audit, record: Record) -> Check:
    name = "the same threshold gives the same record"
    noted = record.summary.get("detector")
    if audit.at_threshold is None or not isinstance(noted, Mapping):
        return Check(name, True, "the audit has no at_threshold", "")
    moved = audit.at_threshold(record, float(noted["threshold"]))
    differ = [
        key
        for key, value in as_json(record.summary).items()
        if key not in ("detector", "warnings") and as_json(moved.summary).get(key) != value
    ]
    return Check(
        name,
        not differ,
        f"differ: {', '.join(differ) or 'none'}",
        "at_threshold must compute the summary as make does, from the arrays.",
    )
