"""Fig. 5, bottom: what the model draws for each class."""

from typing import ClassVar

import numpy as np
import torch

from condgen.audits.audit import Audit
from condgen.audits.records import Record
from condgen.audits.subject import Subject
from condgen.config import AuditSettings
from condgen.config.section import Positive
from condgen.density import ClassConditionalDensity
from condgen.randomness import stream
from condgen.registry import AUDITS
from condgen.validation import check_count


def samples(density: ClassConditionalDensity, *, count: int = 10, temperature: float = 1.0, seed: int = 0) -> Record:
    """``count`` images of every class, in the order of the classes."""
    check_count("count", count, 1)
    label = torch.arange(density.num_classes).repeat_interleave(count)
    images = density.sample(label, temperature, generator=stream(seed, "samples"))
    arrays = {"images": images.cpu().numpy().astype(np.float32), "label": label.numpy()}
    return Record("samples", {"per_class": count, "temperature": temperature}, arrays)


class SamplesSettings(AuditSettings):
    """``count``: images of each class."""

    shorthand: ClassVar[str] = "count"

    count: Positive = 10


def make(subject: Subject, settings: SamplesSettings) -> Record:
    """The audit of a subject."""
    return samples(subject.classifier.density, count=settings.count, seed=subject.seed)


AUDIT = AUDITS.register("samples")(Audit("samples", SamplesSettings, make, needs_samples=True))
