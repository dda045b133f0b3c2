"""Progress of a study: a bar for each running step, and a line for each that has ended."""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from condgen.errors import CondgenError
from condgen.studies.steps import Outcome, Setting, Step, note
from condgen.training.log import read_log
from condgen.training.progress import duration

WORDS = {
    "done": "done in",
    "stopped": "stopped at the time limit, after",
    "failed": "[red]failed[/] after",
    "not run": "not run",
}


class StudyProgress:
    """Progress of :func:`condgen.studies.running.run_steps` on stderr; use as a context manager.

    Args:
        total: Number of steps to run.
        setting: Setting of the steps; its folder has a note for each running step.
        quiet: Show nothing.
    """

    def __init__(self, total: int, setting: Setting, *, quiet: bool = False):
        self.setting = setting
        columns = (
            TextColumn("{task.description}"),
            BarColumn(12),
            MofNCompleteColumn(),
            TextColumn("{task.fields[words]}"),
        )
        self.bars = Progress(
            *columns, TimeElapsedColumn(), console=Console(stderr=True), disable=quiet
        )
        self.all = self.bars.add_task("steps", total=total, words="")
        self.shown: dict[Step, TaskID] = {}
        self.told: set[Step] = set()

    def __enter__(self) -> Self:
        self.bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bars.stop()

    def __call__(self, submitted: Sequence[Step], ended: Mapping[Step, Outcome]) -> None:
        """Show the current state."""
        for step in submitted:
            self._update(step)
        for step, outcome in ended.items():
            if step not in self.told:
                self._print_outcome(step, outcome)
        waiting = len(submitted) - len(self.shown)
        self.bars.update(
            self.all, completed=len(self.told), words=f"{waiting} waiting" if waiting > 0 else ""
        )

    def _update(self, step: Step) -> None:
        """Show a running step: the epochs of a training, only the time of an audit."""
        begun = _begun(self.setting, step)
        if begun is None:
            return
        if step not in self.shown:
            epochs = step.config.training.epochs if step.is_training else None
            self.shown[step] = self.bars.add_task(escape(step.name), total=epochs, words="")
            self.bars.tasks[-1].start_time = self.bars.get_time() - (time.time() - begun)
        lines = []
        if step.is_training:
            with suppress(CondgenError):  # the report names a damaged log
                lines = read_log(step.path)
        if lines:
            self.bars.update(
                self.shown[step], completed=lines[-1]["epoch"], words=_words(lines[-1])
            )

    def _print_outcome(self, step: Step, outcome: Outcome) -> None:
        self.told.add(step)
        if step in self.shown:
            self.bars.remove_task(self.shown.pop(step))
        after = "" if outcome.ending == "not run" else f" {duration(outcome.seconds)}"
        error = f": {escape(outcome.error)}" if outcome.error else ""
        if not self.bars.disable:
            self.bars.console.print(
                f"{escape(step.name)}: {WORDS[outcome.ending]}{after}{error}", highlight=False
            )


def _begun(setting: Setting, step: Step) -> float | None:
    """The time at which a worker began a step, from its note; ``None`` if the step waits."""
    try:
        return note(setting.folder, step, "running").stat().st_mtime
    except OSError:
        return None


def _words(line: Mapping[str, object]) -> str:
    """The validation metrics of an epoch."""
    bits, accuracy = line.get("validation_bits_per_dim"), line.get("validation_accuracy")
    found = [f"{bits:.3f} bits/dim"] if isinstance(bits, float) else []
    return ", ".join([*found, *([f"{accuracy:.1%}"] if isinstance(accuracy, float) else [])])
