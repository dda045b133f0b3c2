"""Fig. 5, bottom: samples of each class."""

from contextlib import suppress
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from condgen.audits.audit import Audit
from condgen.audits.predictions import check_dataset
from condgen.audits.records import Record
from condgen.audits.subject import Subject
from condgen.classifier import GenerativeClassifier, check_classifier, evaluating
from condgen.config import AuditSettings
from condgen.config.section import Positive
from condgen.data.dataset import ImageDataset
from condgen.density import ClassConditionalDensity
from condgen.errors import CondgenError
from condgen.randomness import stream
from condgen.registry import AUDITS
from condgen.validation import check_count, is_number


def samples(
    model: GenerativeClassifier | ClassConditionalDensity,
    data: ImageDataset | None = None,
    *,
    count: int = 10,
    temperature: float = 1.0,
    seed: int = 0,
) -> Record:
    """Draw ``count`` images of every class, in the order of the classes.

    Images of a class that cannot be drawn, because they overflow, are NaN; the record's
    ``not_drawn`` lists these classes.

    Args:
        model: A classifier, as for the other audits, or a density.
        data: Optional data set. The samples do not depend on it; a model that does not fit it is an
            error.
        count: Number of images of each class.
        temperature: The temperature of the density's ``sample``.
        seed: Seed of the samples.

    Raises:
        CondgenError: If no class can be sampled from, or the model is none or does not fit the
            data.
    """
    check_count("count", count, 1)
    check_count("seed", seed, 0)
    if not is_number(temperature) or temperature < 0:
        raise CondgenError(
            f"temperature is {temperature!r}, expected a number >= 0; 1 samples from the model."
        )
    classifier = _classifier(model)
    if data is not None:
        check_dataset(data, classifier.density)
    label = torch.arange(classifier.density.num_classes).repeat_interleave(count)
    with torch.no_grad(), evaluating(classifier):
        images = _drawn(classifier, label, temperature, seed)
    missing = torch.unique(label[~images.flatten(1).isfinite().all(1)]).tolist()
    summary = {"per_class": count, "temperature": temperature, "not_drawn": missing}
    return Record("samples", summary, {"images": images.numpy(), "label": label.numpy()})


def _drawn(
    classifier: GenerativeClassifier, label: Tensor, temperature: float, seed: int
) -> Tensor:
    """Images of all labels; if that fails, class by class, and NaN for those that fail."""
    try:
        images = classifier.sample(label, temperature, generator=stream(seed, "samples"))
        return images.cpu().float()
    except CondgenError:
        images = torch.full((len(label), *classifier.density.event_shape), torch.nan)
        for one in torch.unique(label).tolist():
            of_class, generator = label == one, stream(seed, "samples", one)
            with suppress(CondgenError):
                drawn = classifier.sample(label[of_class], temperature, generator=generator)
                images[of_class] = drawn.cpu().float()
        if not images.isfinite().any():
            raise
        return images


def _classifier(model: Any) -> GenerativeClassifier:
    classifier = GenerativeClassifier(model) if hasattr(model, "class_log_prob") else model
    check_classifier(classifier)
    return cast(GenerativeClassifier, classifier)


class SamplesSettings(AuditSettings):
    """``count``: number of images of each class."""

    shorthand: ClassVar[str] = "count"

    count: Positive = 10


def make(subject: Subject, settings: SamplesSettings) -> Record:
    """Run the audit on a subject."""
    return samples(subject.classifier, subject.splits.test, count=settings.count, seed=subject.seed)


AUDIT = AUDITS.register("samples")(Audit("samples", SamplesSettings, make, needs_samples=True))
