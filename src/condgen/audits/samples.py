"""Fig. 5, bottom: what the model draws for each class."""

import numpy as np
import torch

from condgen.audits.records import Record
from condgen.density import ClassConditionalDensity, check_count
from condgen.randomness import stream


def samples(density: ClassConditionalDensity, *, count: int = 10, temperature: float = 1.0, seed: int = 0) -> Record:
    """``count`` images of every class, in the order of the classes."""
    check_count("count", count, 1)
    label = torch.arange(density.num_classes).repeat_interleave(count)
    images = density.sample(label, temperature, generator=stream(seed, "samples"))
    arrays = {"images": images.cpu().numpy().astype(np.float32), "label": label.numpy()}
    return Record("samples", {"per_class": count, "temperature": temperature}, arrays)
