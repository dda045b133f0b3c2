"""The report section of an audit, as a value."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from condgen.reports.audited import Audited
from condgen.reports.tables import Table


@dataclass(frozen=True)
class Part:
    """One heading of the page, for all models that have the record.

    Args:
        title: The heading.
        table: Of all models together.
        figure: Of one model. Its files have the function's name, then the model's.
        words: Of one model: the figure's caption, or a paragraph.
        overview: A figure of all models together, before those of each.
        overview_words: Its caption.
    """

    title: str
    table: Callable[[Sequence[Audited]], Table] | None = None
    figure: Callable[[Audited], Figure] | None = None
    words: Callable[[Audited], str] | None = None
    overview: Callable[[Sequence[Audited]], Figure] | None = None
    overview_words: str = ""


@dataclass(frozen=True)
class Section:
    """All that a report shows of one audit.

    Args:
        audit: Its name.
        parts: In the order of the page.
        verdict: Sentences for the top of the page: does the detector work, as far as this audit
            can tell? ``None`` if it cannot tell.
    """

    audit: str
    parts: tuple[Part, ...]
    verdict: Callable[[Sequence[Audited]], str] | None = None

    def tables(self, models: Sequence[Audited]) -> list[Table]:
        """The tables of models that all have the record."""
        return [part.table(models) for part in self.parts if part.table]
