"""Table 1: accuracy and bits/dim on the test images."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from condgen.audits import intervals
from condgen.audits.audit import Audit
from condgen.audits.predictions import check_auditable, check_numbers
from condgen.audits.records import Record
from condgen.audits.subject import Subject
from condgen.classifier import GenerativeClassifier, predict
from condgen.config import AuditSettings
from condgen.config.section import Positive
from condgen.data.dataset import ImageDataset
from condgen.detectors import Detector, flagged, score
from condgen.detectors.base import summary_of
from condgen.randomness import stream
from condgen.registry import AUDITS
from condgen.validation import check_count


def classification(
    classifier: GenerativeClassifier,
    data: ImageDataset,
    *,
    detector: Detector,
    noise_draws: int = 4,
    seed: int = 0,
) -> Record:
    """How well the model classifies, how likely it finds the images, and how many the detector accepts.

    Bits/dim are those of log p(x) with fresh noise, averaged over ``noise_draws`` draws per image: an estimate of the
    model's bound on the stored values. Everything else uses the classifier as it is deployed, with fixed noise; so do the
    other audits, whose bits/dim compare with ``bits_per_dim_deployed``.
    """
    check_auditable(classifier, data)
    check_count("noise_draws", noise_draws)
    x, label = data.batch(slice(None))
    prediction = predict(classifier, x)
    check_numbers(prediction)
    draws, draws_given_class = [], []
    for draw in range(noise_draws):
        with classifier.density.fresh_noise(stream(seed, "classification", draw)):
            noisy = predict(classifier, x)
        draws.append(noisy.bits_per_dim)
        draws_given_class.append(noisy.class_bits_per_dim.gather(1, label[:, None]).squeeze(1))
    arrays = {
        "label": label.numpy(),
        "predicted": prediction.label.numpy(),
        "class_log_prob": prediction.class_log_prob.numpy(),
        "bits_per_dim": np.mean([draw.numpy() for draw in draws], axis=0),
        "bits_per_dim_given_class": np.mean([draw.numpy() for draw in draws_given_class], axis=0),
        "bits_per_dim_deployed": prediction.bits_per_dim.numpy(),
        "score": score(detector, prediction).numpy(),
        "accepted": ~flagged(detector, prediction).numpy(),
    }
    if prediction.subspace_log_prob is not None:
        arrays["predicted_by_subspace"] = prediction.subspace_log_prob.argmax(1).numpy()
    return Record("classification", summarize(arrays, summary_of(detector)), arrays)


class ClassificationSettings(AuditSettings):
    """``noise_draws``: draws of the noise that bits/dim are averaged over."""

    noise_draws: Positive = 4


def make(subject: Subject, settings: ClassificationSettings) -> Record:
    """The audit of a subject."""
    return classification(
        subject.classifier,
        subject.splits.test,
        detector=subject.detector,
        noise_draws=settings.noise_draws,
        seed=subject.seed,
    )


def at_threshold(record: Record, threshold: float) -> Record:
    """The record for another threshold of its detector."""
    arrays = {**record.arrays, "accepted": record.arrays["score"] <= threshold}
    detector = {"name": "likelihood", "unit": "bits/dim", **record.summary.get("detector", {})}
    return replace(record, summary=summarize(arrays, {**detector, "threshold": threshold}), arrays=arrays)


AUDIT = AUDITS.register("classification")(
    Audit("classification", ClassificationSettings, make, uses_detector=True, at_threshold=at_threshold)
)


def summarize(arrays: dict[str, NDArray[Any]], detector: dict[str, Any]) -> dict[str, Any]:
    """Table 1's row from the per-image arrays."""
    accuracy, accuracy_ci = intervals.share(arrays["predicted"] == arrays["label"])
    bits, bits_ci = intervals.mean(arrays["bits_per_dim"])
    deployed, deployed_ci = intervals.mean(arrays["bits_per_dim_deployed"])
    accepted, accepted_ci = intervals.share(arrays["accepted"])
    summary = {
        "n": len(arrays["label"]),
        "accuracy": accuracy,
        "accuracy_ci": accuracy_ci,
        "bits_per_dim": bits,
        "bits_per_dim_ci": bits_ci,
        "bits_per_dim_given_class": intervals.mean(arrays["bits_per_dim_given_class"])[0],
        "bits_per_dim_deployed": deployed,
        "bits_per_dim_deployed_ci": deployed_ci,
        "threshold": detector["threshold"],
        "detector": detector,
        "accepted": accepted,
        "accepted_ci": accepted_ci,
    }
    if "predicted_by_subspace" in arrays:
        by_subspace, by_subspace_ci = intervals.share(arrays["predicted_by_subspace"] == arrays["label"])
        summary |= {"subspace_accuracy": by_subspace, "subspace_accuracy_ci": by_subspace_ci}
    return summary
