"""The report section of an audit."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from condgen.reports.audited import Audited
from condgen.reports.tables import Table


@dataclass(frozen=True)
class Part:
    """One heading of the page, for all models that have the record.

    Args:
        title: Heading.
        table: One table of all models.
        figure: Figure of one model. Its files have the function's name, then the model's.
        words: The caption of one model's figure, or a paragraph on one model.
        overview: One figure of all models, before those of single models.
        overview_words: Caption of the overview.
    """

    title: str
    table: Callable[[Sequence[Audited]], Table] | None = None
    figure: Callable[[Audited], Figure] | None = None
    words: Callable[[Audited], str] | None = None
    overview: Callable[[Sequence[Audited]], Figure] | None = None
    overview_words: str = ""


@dataclass(frozen=True)
class Finding:
    """What an audit says to the question of the page.

    Args:
        trusted: Whether the detector can be trusted, according to this audit; ``None`` if open.
        clause: A clause of the answer, such as "the detector accepts most paths between classes".
    """

    trusted: bool | None
    clause: str


@dataclass(frozen=True)
class Section:
    """Everything that a report shows of one audit.

    Args:
        audit: Name of the audit.
        parts: In the order of the page.
        order: Position on the page; the paper's audits have 1 to 5, in its order.
        verdict: Sentences for the top of the page: whether the detector works, according to this
            audit. ``None`` if the audit does not test the detector.
        answer: What the audit says to the question, in a clause.
        lead: One figure of all models for the top of the page.
        lead_words: Caption of that figure.
    """

    audit: str
    parts: tuple[Part, ...]
    verdict: Callable[[Sequence[Audited]], str] | None = None
    answer: Callable[[Sequence[Audited]], Finding | None] | None = None
    lead: Callable[[Sequence[Audited]], Figure] | None = None
    lead_words: str = ""
    order: int = 100

    def tables(self, models: Sequence[Audited]) -> list[Table]:
        """The tables of models that all have the record."""
        return [part.table(models) for part in self.parts if part.table]
