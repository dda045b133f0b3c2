"""Work that processes share, with a progress bar."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from rich.progress import Progress

from condgen import processes

Item = TypeVar("Item")
Result = TypeVar("Result")


def share_work(
    work: Callable[[Item], Result], items: Sequence[Item], title: str, *, quiet: bool
) -> list[Result]:
    """:func:`condgen.processes.share_work` with a bar that disappears at the end."""
    with Progress(disable=quiet, transient=True) as bars:
        task = bars.add_task(title, total=len(items))
        return processes.share_work(
            work, items, done=lambda *_: bars.advance(task, processes.count())
        )
