"""The progress bar of a training run, and the metrics of each epoch for its log."""

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import torch
from rich import progress as bars
from rich.console import Console
from torch import Tensor

from condgen.training.steps import REPORTED_AS_MAXIMUM

SMOOTHING = 0.95  # weight of the old value in the running means on the bar
REFRESH_SECONDS = 0.2  # reading the metrics needs a GPU sync
FORMATS = {"bits_per_dim": "{:.3f} bits/dim", "accuracy": "{:.1%}", "loss": "loss {:.3f}"}


class Progress:
    """A bar over training steps with running means of the metrics, and a summary of each epoch.

    Args:
        steps: Number of steps in the whole training.
        quiet: Show no bar.
    """

    def __init__(self, steps: int, *, quiet: bool = False):
        columns = (
            bars.BarColumn(20),
            bars.MofNCompleteColumn(),
            bars.TextColumn("{task.fields[metrics]}"),
            bars.TimeRemainingColumn(),
        )
        self._bar = bars.Progress(*columns, console=Console(stderr=True), disable=quiet)
        self._task = self._bar.add_task("training", total=steps, metrics="")
        self._running: Tensor | None = None
        self._drawn = -REFRESH_SECONDS
        self._validation = ""
        self.start_epoch()

    def __enter__(self) -> "Progress":
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def done(self, steps: int) -> None:
        """Set the number of steps taken before."""
        self._bar.update(self._task, completed=steps)

    @property
    def seconds(self) -> float:
        """Time since the start of the epoch, without pauses between two processes."""
        return time.monotonic() - self._since

    def start_epoch(self) -> None:
        """Reset the metrics and the images per second."""
        self._names: tuple[str, ...] = ()
        self._sums = self._maxima = torch.zeros(0)
        self._steps, self._images, self._since = 0, 0, time.monotonic()

    def state(self) -> dict[str, Any]:
        """The sums of the epoch so far, for a checkpoint."""
        return {
            "names": list(self._names),
            "sums": self._sums.tolist(),
            "maxima": self._maxima.tolist(),
            "steps": self._steps,
            "images": self._images,
            "seconds": self.seconds,
        }

    def restore(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Continue an epoch from its :meth:`state`."""
        self._names = tuple(state["names"])
        self._sums, self._maxima = (
            torch.tensor(state[key], dtype=torch.float64, device=device)
            for key in ("sums", "maxima")
        )
        self._steps, self._images = int(state["steps"]), int(state["images"])
        self._since = time.monotonic() - float(state["seconds"])

    @torch.no_grad()
    def advance(self, metrics: Mapping[str, Tensor], images: int) -> None:
        """Count a step on ``images`` images; no device sync except to redraw the bar."""
        values = torch.stack([value.detach().double() for value in metrics.values()])
        first = self._steps == 0
        self._names = tuple(metrics)
        self._sums = values if first else self._sums + values
        self._maxima = values if first else torch.maximum(self._maxima, values)
        running = self._running
        self._running = values if running is None else running.lerp(values, 1 - SMOOTHING)
        self._steps += 1
        self._images += images
        self._bar.advance(self._task)
        if not self._bar.disable and time.monotonic() - self._drawn >= REFRESH_SECONDS:
            self._drawn = time.monotonic()
            self._bar.update(self._task, metrics=self._line(self._running))

    def summary(self) -> dict[str, float]:
        """Epoch means (maxima of :data:`REPORTED_AS_MAXIMUM`) so far, and images per second."""
        if not self._steps:
            return {}
        means, maxima = torch.stack([self._sums / self._steps, self._maxima]).tolist()
        found = {
            name: maximum if name in REPORTED_AS_MAXIMUM else mean
            for name, mean, maximum in zip(self._names, means, maxima, strict=True)
        }
        return {**found, "images_per_second": round(self._rate(), 1)}

    def epoch_done(self, metrics: Mapping[str, float]) -> None:
        """Show validation metrics after the running ones."""
        self._validation = " · validation " + ", ".join(_words(metrics))

    def _rate(self) -> float:
        return self._images / max(self.seconds, 1e-9)

    def _line(self, running: Tensor) -> str:
        metrics = dict(zip(self._names, running.tolist(), strict=True))
        return f"{' · '.join(_words(metrics))} · {self._rate():.0f} images/s{self._validation}"


def _words(metrics: Mapping[str, float]) -> list[str]:
    shown = [name for name in metrics if name not in REPORTED_AS_MAXIMUM]
    return [FORMATS.get(name, f"{name} {{:.3f}}").format(metrics[name]) for name in shown]


def duration(seconds: float) -> str:
    """Seconds in the unit that fits.

    >>> [duration(0.42), duration(42), duration(200), duration(5000)]
    ['0.4 s', '42 s', '3 min', '1 h 23 min']
    """
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
