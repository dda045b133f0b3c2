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
class Section:
    """Everything that a report shows of one audit.

    Args:
        audit: Name of the audit.
        parts: In the order of the page.
        verdict: Sentences for the top of the page: whether the detector works, according to this
            audit. ``None`` if the audit does not test the detector.
    """

    audit: str
    parts: tuple[Part, ...]
    verdict: Callable[[Sequence[Audited]], str] | None = None

    def tables(self, models: Sequence[Audited]) -> list[Table]:
        """The tables of models that all have the record."""
        return [part.table(models) for part in self.parts if part.table]
