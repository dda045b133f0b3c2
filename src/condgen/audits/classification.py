"""Table 1: accuracy and bits/dim on the test images."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from condgen.audits import intervals, selective
from condgen.audits.audit import Audit
from condgen.audits.checks import UNDER_TRAINED, Check
from condgen.audits.predictions import check_auditable, predictions, warnings_on
from condgen.audits.records import Record
from condgen.audits.subject import Subject
from condgen.audits.thresholds import at
from condgen.classifier import GenerativeClassifier
from condgen.config import AuditSettings
from condgen.config.section import Positive
from condgen.data.dataset import ImageDataset
from condgen.detectors import Detector, flagged, score
from condgen.detectors.base import check_detector, summary_of
from condgen.files import as_json
from condgen.prediction import Prediction
from condgen.randomness import stream
from condgen.registry import AUDITS
from condgen.validation import check_count

BETTER_THAN_SIMPLE = "the model is better than simple densities"
Arrays = dict[str, NDArray[Any]]


def classification(
    classifier: GenerativeClassifier,
    data: ImageDataset,
    *,
    detector: Detector,
    noise_draws: int = 4,
    seed: int = 0,
    simple_densities: Mapping[str, float] | None = None,
) -> Record:
    """Measure accuracy, bits/dim, and the share of images that the detector accepts.

    Bits/dim are those of log p(x) with fresh noise, averaged over ``noise_draws`` draws per image:
    an estimate of the model's bound on the quantized values; a discrete likelihood has no noise and
    needs no draws. Everything else uses the deployed classifier, with fixed noise. So do the other
    audits: their bits/dim compare with ``bits_per_dim_deployed``.

    With ``simple_densities``, the bits/dim of simple densities by name, the record has a check
    whether the model is better than the best of them.
    """
    check_auditable(classifier, data)
    check_detector(detector)
    check_count("noise_draws", noise_draws)
    check_count("seed", seed, 0)
    found = _joined(
        {**_deployed(prediction, detector), **_bits(prediction)}
        for prediction in predictions(classifier, data)
    )
    deployed = {key: found.pop(key) for key in ("bits_per_dim", "class_bits_per_dim")}
    arrays, draws = {"label": data.labels, **found}, []
    if classifier.density.discrete:
        draws, noise_draws = [deployed], 0
    for draw in range(noise_draws):
        with classifier.density.fresh_noise(stream(seed, "classification", draw)):
            draws.append(_joined(_bits(prediction) for prediction in predictions(classifier, data)))
    of_class = [draw["class_bits_per_dim"][np.arange(len(data)), data.labels] for draw in draws]
    arrays["bits_per_dim"] = np.mean([draw["bits_per_dim"] for draw in draws], axis=0)
    arrays["bits_per_dim_given_class"] = np.mean(of_class, axis=0)
    about = {
        "class_prior": classifier.class_prior,
        "warnings": warnings_on(classifier.density, arrays["bits_per_dim_deployed"]),
        "simple_densities": dict(simple_densities or {}),
    }
    return Record(
        "classification", summarize(arrays, summary_of(detector, classifier.density), about), arrays
    )


def _deployed(prediction: Prediction, detector: Detector) -> Arrays:
    """Predictions and detector scores of some images, with the fixed noise of deployment."""
    found = {
        "predicted": prediction.label,
        "class_log_prob": prediction.class_log_prob,
        "bits_per_dim_deployed": prediction.bits_per_dim,
        "score": score(detector, prediction),
        "accepted": ~flagged(detector, prediction),
    }
    if prediction.subspace_log_prob is not None:
        found["predicted_by_subspace"] = prediction.subspace_log_prob.argmax(1)
    return {name: tensor.detach().numpy() for name, tensor in found.items()}


def _bits(prediction: Prediction) -> Arrays:
    found = {
        "bits_per_dim": prediction.bits_per_dim,
        "class_bits_per_dim": prediction.class_bits_per_dim,
    }
    return {name: tensor.numpy() for name, tensor in found.items()}


def _joined(parts: Iterator[Arrays]) -> Arrays:
    """Concatenate the arrays of several batches, by name."""
    lists = defaultdict(list)
    for part in parts:
        for name, array in part.items():
            lists[name].append(array)
    return {name: np.concatenate(arrays) for name, arrays in lists.items()}


class ClassificationSettings(AuditSettings):
    """``noise_draws``: number of noise draws per image over which bits/dim are averaged."""

    noise_draws: Positive = 4


def make(subject: Subject, settings: ClassificationSettings) -> Record:
    """Run the audit on a subject."""
    return classification(
        subject.classifier,
        subject.splits.test,
        detector=subject.detector,
        noise_draws=settings.noise_draws,
        seed=subject.seed,
        simple_densities=subject.simple_densities,
    )


def at_threshold(record: Record, threshold: float) -> Record:
    """Recompute the record for another threshold of its detector."""
    arrays = {**record.arrays, "accepted": record.arrays["score"] <= threshold}
    return replace(record, summary=summarize(arrays, *at(record, threshold)), arrays=arrays)


AUDIT = AUDITS.register("classification")(
    Audit(
        "classification",
        ClassificationSettings,
        make,
        uses_detector=True,
        at_threshold=at_threshold,
    )
)


def summarize(arrays: Arrays, detector: dict[str, Any], about: dict[str, Any]) -> dict[str, Any]:
    """Table 1's row from the per-image arrays; ``about`` has further facts about the model."""
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
        **selective.summarize(arrays),
        **about,
    }
    if "predicted_by_subspace" in arrays:
        by_subspace, by_subspace_ci = intervals.share(
            arrays["predicted_by_subspace"] == arrays["label"]
        )
        summary |= {"subspace_accuracy": by_subspace, "subspace_accuracy_ci": by_subspace_ci}
    if about.get("simple_densities"):
        summary["checks"] = [asdict(_better_than_simple(bits, bits_ci, about["simple_densities"]))]
    noted: dict[str, Any] = as_json(summary)
    return noted


def _better_than_simple(
    bits: float, interval: Sequence[float], simple: Mapping[str, float]
) -> Check:
    """Check that the interval of the model's bits/dim lies below the best simple density."""
    name, best = min(simple.items(), key=lambda item: item[1])
    found = f"{bits:.3f} [{interval[0]:.3f}, {interval[1]:.3f}] bits/dim; {name} {best:.3f}"
    advice = (
        "Train longer, or use a better recipe: the model is under-trained, and so are the"
        " conclusions about it."
    )
    return Check(BETTER_THAN_SIMPLE, bool(interval[1] < best), found, advice, UNDER_TRAINED)
