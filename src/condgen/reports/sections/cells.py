"""Helpers of the sections: cells for numbers that may be infinite, and notes below tables."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from condgen.audits.checks import FAIL, NOT_RUN, PASS, Check
from condgen.reports.audited import Audited
from condgen.reports.detectors import detector_noted
from condgen.reports.tables import MISSING, Summary, Table, number, percent, summaries_of

INFINITE = "∞"  # null in a record, since JSON has no infinity


def bits(
    value: float | None, interval: Sequence[float | None] | None = None, digits: int = 3
) -> str:
    """Format bits/dim; the mean is infinite if an image has likelihood 0.

    >>> bits(1.5, (1.0, 2.0)), bits(1.5, digits=2), bits(None, (None, None))
    ('1.500 [1.000, 2.000]', '1.50', '∞')
    """
    if value is None:
        return INFINITE
    if interval is None or None in interval:
        return f"{value:.{digits}f}"
    return number(value, [float(end) for end in interval if end is not None])


def estimate(value: float | None, interval: Sequence[float | None] | None) -> str:
    """Format a number with its interval; both may be missing.

    >>> estimate(0.5, (0.25, 0.75)), estimate(None, None)
    ('0.500 [0.250, 0.750]', '–')
    """
    return MISSING if value is None else bits(value, interval)


def share(value: float | None, interval: Sequence[float] | None) -> str:
    """Format a share of images in percent; it is missing if there are no images."""
    return MISSING if value is None or interval is None else percent(value, interval)


def notes_on(summaries: Mapping[str, Summary]) -> str:
    """Sentences for a table's caption: the class prior, and warnings of the records."""
    priors = {
        name: _prior(summary["class_prior"])
        for name, summary in summaries.items()
        if "class_prior" in summary
    }
    sentences = [f"Class prior: {_shared_prior(priors)}."] if priors else []
    sentences += [
        f"{name}: {warning}"
        for name, summary in summaries.items()
        for warning in warnings_of(summary)
    ]
    return "".join(f" {sentence}" for sentence in sentences)


def warnings_of(summary: Summary) -> list[str]:
    """The warnings of a summary, on the likelihood and on the detector."""
    detector = summary.get("detector")
    noted = [
        summary.get("warnings"),
        detector.get("warnings") if isinstance(detector, Mapping) else None,
    ]
    return [str(warning) for found in noted if isinstance(found, list) for warning in found]


def first_warnings(models: Sequence[Audited], audit: str) -> str:
    """Sentences for the top of the page: warnings of each model's first record with a detector."""
    return "".join(
        f" {model.name}: {warning}"
        for model in models
        if next(_with_detector(model), audit) == audit
        for warning in warnings_of(model.record(audit).summary)
    )


def _with_detector(model: Audited) -> Iterator[str]:
    return (audit for audit in model.audits_made() if detector_noted(model.record(audit).summary))


def _prior(prior: Any) -> str:
    if not isinstance(prior, list):
        return str(prior)
    if len(prior) > 10:
        return f"{min(prior):.3g} to {max(prior):.3g} for {len(prior)} classes"
    return ", ".join(f"{each:.3g}" for each in prior)


def _shared_prior(priors: Mapping[str, str]) -> str:
    """The prior that all models share, else the prior of each."""
    found = list(dict.fromkeys(priors.values()))
    return (
        found[0]
        if len(found) == 1
        else "; ".join(f"{prior} for {name}" for name, prior in priors.items())
    )


def checks_of(
    models: Sequence[Audited], audit: str, title: str, caption: str, name: str = "checks"
) -> Table:
    """The checks in the records of an audit; failed ones first, those that passed last."""
    found = [
        (model, Check(**check))
        for model, summary in summaries_of(models, audit).items()
        for check in summary.get("checks", [])
    ]
    found.sort(key=lambda each: [FAIL, NOT_RUN, PASS].index(each[1].outcome))
    return Table(
        name,
        title,
        caption,
        ("model", "check", "", "found", "what to do"),
        tuple(
            (
                model,
                str(c.name),
                c.outcome,
                str(c.found),
                str(c.advice) if c.outcome == FAIL else "",
            )
            for model, c in found  # of a damaged record, they may be anything
        ),
        tuple(
            {"model": model, "outcome": check.outcome, **asdict(check)} for model, check in found
        ),
        folded=sum(check.outcome == PASS for _, check in found),
    )
