"""Shuffled, augmented batches of a data set."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from condgen.config import Training
from condgen.data.augmentation import Augmentation
from condgen.data.dataset import ImageDataset
from condgen.errors import DataError
from condgen.randomness import numpy_stream, stream


@dataclass(frozen=True)
class Loader:
    """Batches of equal size; each depends only on the seed, the epoch and the batch number."""

    data: ImageDataset
    batch_size: int
    augmentation: Augmentation
    seed: int

    def __len__(self) -> int:
        """Batches per epoch; the remaining images are left out, different ones in each epoch."""
        return len(self.data) // self.batch_size

    def epoch(self, number: int, first: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of epoch ``number``, starting with batch ``first``."""
        order = numpy_stream(self.seed, "order", number).permutation(len(self.data))
        for batch in range(first, len(self)):
            start = batch * self.batch_size
            x, label = self.data.batch(np.sort(order[start : start + self.batch_size]))
            yield self.augmentation(x, stream(self.seed, "augmentation", number, batch)), label


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
