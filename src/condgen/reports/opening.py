"""The opening of a page: the question, an answer in one sentence, one figure, and the verdicts."""

from collections.abc import Sequence

from condgen.reports.audited import in_order
from condgen.reports.detectors import detector_noted
from condgen.reports.layout import Panel
from condgen.reports.sections import section_of
from condgen.reports.selection import Selection

UNKNOWN = "No audit that tests the detector was run: whether it can be trusted is unknown."


def audits_of(models: Sequence[Selection]) -> list[str]:
    """The audits shown, in page order: those of the paper in its order, then all others."""
    made = in_order(audit for model in models for audit in model.audits_made())
    return sorted(made, key=lambda audit: section_of(audit).order)


def having(models: Sequence[Selection], audit: str) -> list[Selection]:
    """The models with a record of an audit."""
    return [model for model in models if model.has(audit)]


def question(models: Sequence[Selection]) -> str:
    """The title of the page."""
    records = [model.record(audit) for model in models for audit in model.audits_made()]
    names = {found.name for record in records if (found := detector_noted(record.summary))}
    if names <= {"likelihood"}:
        return "Can the likelihood of this generative classifier be trusted as an outlier detector?"
    return "Can the outlier detector of this generative classifier be trusted?"


def answer(models: Sequence[Selection]) -> str:
    """One sentence: what the audits say to the question."""
    found = []
    for audit in audits_of(models):
        of_section = section_of(audit).answer
        if of_section and (finding := of_section(having(models, audit))):
            found.append(finding)
    if not found:
        return UNKNOWN
    against = [finding.clause for finding in found if finding.trusted is False]
    if against:
        return f"No: {', and '.join(against)}."
    words = ", and ".join(finding.clause for finding in found)
    trusted = all(finding.trusted for finding in found)
    return f"{'Yes, within these audits' if trusted else 'Not clear'}: {words}."


def verdict(models: Sequence[Selection]) -> str:
    """The verdict of each audit that tests the detector."""
    verdicts = []
    for audit in audits_of(models):
        of_section = section_of(audit).verdict
        if of_section and (found := of_section(having(models, audit))):
            verdicts.append(found)
    return " ".join(verdicts) or UNKNOWN


def lead(models: Sequence[Selection]) -> Panel | None:
    """The figure below the answer: that of the first audit that has one."""
    for audit in reversed(audits_of(models)):
        section = section_of(audit)
        if section.lead:
            figure = section.lead(having(models, audit))
            return section.lead.__name__.replace("_", "-"), section.lead_words, figure
    return None
