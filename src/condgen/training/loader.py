"""Shuffled, augmented batches of a data set."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from condgen import processes
from condgen.config import Training
from condgen.data.augmentation import Augmentation
from condgen.data.dataset import ImageDataset
from condgen.errors import DataError
from condgen.randomness import Rows, drawing_for, numpy_stream, stream


@dataclass(frozen=True)
class Loader:
    """Batches of equal size; each depends only on the seed, the epoch and the batch number.

    A process gets its own rows of each part of a batch, see :func:`shares`.
    """

    data: ImageDataset
    batch_size: int
    augmentation: Augmentation
    seed: int
    parts: int = 1

    def __len__(self) -> int:
        """Batches per epoch; the remaining images are left out, different ones in each epoch."""
        return len(self.data) // self.batch_size

    def epoch(self, number: int, first: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of epoch ``number``, starting with batch ``first``."""
        order = numpy_stream(self.seed, "order", number).permutation(len(self.data))
        own = rows_in_batch(shares(self.batch_size, self.parts))
        for batch in range(first, len(self)):
            start = batch * self.batch_size
            images = np.sort(order[start : start + self.batch_size])
            x, label = self.data.batch(images[own.index.numpy()])
            with drawing_for(own):
                x = self.augmentation(x, stream(self.seed, "augmentation", number, batch))
            yield x, label


def shares(batch_size: int, parts: int) -> list[Rows]:
    """The rows of this process in each part of a batch.

    >>> [rows.index.tolist() for rows in shares(5, parts=2)]  # with one process
    [[0, 1, 2], [0, 1]]
    """
    sizes = [len(part) for part in torch.empty(batch_size).tensor_split(parts)]
    return [processes.rows_of(size) for size in sizes]


def rows_in_batch(parts: Sequence[Rows]) -> Rows:
    """The rows of all parts, as rows of the batch."""
    starts = itertools.accumulate((part.total for part in parts), initial=0)
    index = [part.index + start for part, start in zip(parts, starts, strict=False)]
    return Rows(torch.cat(index), sum(part.total for part in parts))


def steps_per_epoch(train: ImageDataset, settings: Training) -> int:
    """The number of batches in an epoch.

    Raises:
        DataError: If there are fewer training images than a batch has.
    """
    if len(train) < settings.batch_size:
        raise DataError(
            f"{train.name} has {len(train)} training images, fewer than one batch of"
            f" {settings.batch_size}; set training.batch_size={max(1, len(train))} or less."
        )
    return len(train) // settings.batch_size


def steps_in_all(per_epoch: int, settings: Training) -> int:
    """The number of steps in the whole training."""
    of_epochs = settings.epochs * per_epoch
    return of_epochs if settings.max_steps is None else min(of_epochs, settings.max_steps)
