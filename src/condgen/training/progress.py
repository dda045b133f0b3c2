"""What one sees while a model trains: loss, bits/dim, accuracy, images per second, time left."""

import time
from types import TracebackType

import torch
from rich import progress as bars
from rich.console import Console
from torch import Tensor

from condgen.classifier import Prediction
from condgen.training.objectives import bits_per_dim

SMOOTHING = 0.95  # share of the old value in the running means on the bar
REFRESH_SECONDS = 0.2  # reading the figures waits for a GPU


class Progress:
    """A bar over training steps with running means, and the means of each epoch for the log."""

    def __init__(self, steps: int, done: int, *, quiet: bool = False):
        columns = (
            bars.BarColumn(20),
            bars.MofNCompleteColumn(),
            bars.TextColumn("{task.fields[figures]}"),
            bars.TimeRemainingColumn(),
        )
        self._sums, self._steps, self._images, self._since = torch.zeros(3), 0, 0, time.monotonic()
        self._bar = bars.Progress(*columns, console=Console(stderr=True), disable=quiet)
        self._task = self._bar.add_task("training", total=steps, completed=done, figures="")
        self._running: Tensor | None = None
        self._drawn = -REFRESH_SECONDS
        self._validation = ""

    def __enter__(self) -> "Progress":
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()

    @torch.no_grad()
    def advance(self, loss: Tensor, prediction: Prediction, label: Tensor) -> None:
        """One step done."""
        correct = (prediction.label == label).float().mean()
        figures = torch.stack([loss, bits_per_dim(prediction, label).mean(), correct]).double()
        self._running = figures if self._running is None else torch.lerp(self._running, figures, 1 - SMOOTHING)
        self._sums = figures if self._steps == 0 else self._sums + figures
        self._steps += 1
        self._images += len(label)
        self._bar.advance(self._task)
        if time.monotonic() - self._drawn >= REFRESH_SECONDS:
            self._drawn = time.monotonic()
            self._bar.update(self._task, figures=self._line(self._running))

    def summary(self) -> dict[str, float]:
        """Means over the epoch so far."""
        loss, bits, accuracy = (self._sums / self._steps).tolist()
        return {"loss": loss, "bits_per_dim": bits, "accuracy": accuracy, "images_per_second": round(self._rate(), 1)}

    def epoch_done(self, metrics: dict[str, float]) -> None:
        """Show the validation figures behind the running ones."""
        self._validation = f" · validation {metrics['bits_per_dim']:.3f} bits/dim, {metrics['accuracy']:.1%}"

    def start_epoch(self) -> None:
        """Means and images per second count from here."""
        self._sums, self._steps, self._images, self._since = torch.zeros(3), 0, 0, time.monotonic()

    def _rate(self) -> float:
        return self._images / max(time.monotonic() - self._since, 1e-9)

    def _line(self, running: Tensor) -> str:
        loss, bits, accuracy = running.tolist()
        return f"loss {loss:.3f} · {bits:.3f} bits/dim · {accuracy:.1%} · {self._rate():.0f} images/s{self._validation}"
