"""Metrics of a training for TensorBoard; needs ``pip install 'condgen[tensorboard]'``."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from condgen.errors import ConfigError
from condgen.training.log import read_log

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

FOLDER = "tensorboard"  # within the run directory
COUNTERS = ("format", "time", "epoch", "epochs", "step")


class TensorBoard:
    """Writes the metrics of each epoch as events to ``tensorboard/``; a logger.

    The first call also writes the epochs of the log, and marks events of earlier processes as
    replaced: a resumed run has each epoch once.

    Args:
        directory: Run directory.

    Raises:
        ConfigError: If TensorBoard is not installed.
    """

    def __init__(self, directory: Path):
        self.directory = directory
        self._kind = _summary_writer()
        self._writer: SummaryWriter | None = None

    def log(self, metrics: dict[str, Any], step: int) -> None:
        """Write the metrics of an epoch."""
        if self._writer is None:
            self._writer = self._kind(self.directory / FOLDER, purge_step=0)
            for line in read_log(self.directory):
                if line["step"] < step:
                    self._add(self._writer, line, line["step"], line["time"])
        self._add(self._writer, metrics, step, time.time())
        self._writer.flush()

    def _add(
        self, writer: "SummaryWriter", metrics: dict[str, Any], step: int, moment: float
    ) -> None:
        for name, value in metrics.items():
            if isinstance(value, int | float) and name not in COUNTERS:
                writer.add_scalar(tag(name, metrics), value, step, walltime=moment)


def _summary_writer() -> "type[SummaryWriter]":
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError(
            f"TensorBoard cannot be imported ({error}); run `pip install 'condgen[tensorboard]'`,"
            " or leave it out."
        ) from error
    return SummaryWriter


def tag(name: str, metrics: dict[str, Any]) -> str:
    """The name of a metric in TensorBoard, which groups names by their first part.

    >>> found = {"loss": 1.0, "validation_loss": 2.0, "seconds": 3.0}
    >>> [tag(name, found) for name in found]
    ['loss/training', 'loss/validation', 'seconds']
    """
    if name.startswith("validation_"):
        return f"{name.removeprefix('validation_')}/validation"
    return f"{name}/training" if f"validation_{name}" in metrics else name
