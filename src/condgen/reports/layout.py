"""The parts of a page: a title, a table, and panels (a captioned figure, or only text)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from matplotlib.figure import Figure

from condgen.reports.tables import Table

Panel = tuple[str, str, Figure | None]  # name of its files, caption or paragraph, figure


class PagePart(Protocol):
    """The interface of a section of the page."""

    @property
    def title(self) -> str: ...

    @property
    def table(self) -> Table | None: ...

    @property
    def panels(self) -> Sequence[Panel]: ...


@dataclass(frozen=True)
class PageSection:
    """A section of the page.

    Args:
        title: Heading.
        table: Shown first; saved as ``tables/<name>.csv`` and ``.json``.
        panels: Tuples of a name, words and a figure or ``None``. The name is that of the figure's
            files. The words are its caption, or a paragraph if there is no figure.
    """

    title: str
    table: Table | None = None
    panels: Sequence[Panel] = ()
