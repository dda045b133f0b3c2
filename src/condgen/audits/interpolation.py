"""Figs. 1, 4 and 6: bits/dim and posteriors on straight paths between images of two classes."""

from dataclasses import replace
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from condgen.audits import intervals
from condgen.audits.audit import Audit
from condgen.audits.predictions import check_auditable, check_numbers, predictions, warnings_on
from condgen.audits.records import Record
from condgen.audits.sharing import share_work
from condgen.audits.subject import Subject
from condgen.audits.thresholds import at
from condgen.classifier import GenerativeClassifier, predict
from condgen.config import AuditSettings
from condgen.data.dataset import ImageDataset
from condgen.detectors import Detector, flagged, score
from condgen.detectors.base import check_detector, summary_of
from condgen.errors import CondgenError
from condgen.files import as_json
from condgen.randomness import numpy_stream
from condgen.registry import AUDITS
from condgen.validation import check_count

STRIPS, STRIP_IMAGES = 4, 11


def interpolation(
    classifier: GenerativeClassifier,
    data: ImageDataset,
    *,
    detector: Detector,
    pairs: int = 1000,
    alphas: int = 100,
    seed: int = 0,
    quiet: bool = False,
) -> Record:
    r"""Measure bits/dim and posteriors on paths :math:`x_\alpha = \alpha x_1 + (1 - \alpha) x_0`.

    The ends are test images of two different classes, drawn at random from those that are
    classified correctly and accepted by the detector (Sec. 4.4). If the likelihood is that of
    quantized images, so are the images on the path.

    Raises:
        CondgenError: If no two such images of different classes exist, ``pairs`` is below 2, or
            ``alphas`` is below 3.
    """
    check_auditable(classifier, data, classes=2)
    check_detector(detector)
    check_count("pairs", pairs, 2)
    check_count("alphas", alphas, 3)
    check_count("seed", seed, 0)
    first, second = _draw_pairs(classifier, data, detector, pairs, seed)
    alpha = torch.linspace(0, 1, alphas)

    def along(pair: NDArray[np.int64]) -> tuple[NDArray[Any], ...]:
        (start, end), label = data.batch(pair)
        line = torch.lerp(start, end, alpha[:, None, None, None])
        line = classifier.quantize(line) if classifier.density.discrete else line
        prediction = predict(classifier, line)
        check_numbers(prediction)
        scores, accepted = score(detector, prediction), ~flagged(detector, prediction)
        posterior = prediction.log_posterior[:, label].exp()
        found = (prediction.bits_per_dim, scores, accepted, posterior)
        return tuple(each.numpy() for each in found)

    index = np.stack([first, second], axis=1)
    found = share_work(along, list(index), "interpolation", quiet=quiet)
    bits, scores, accepted, posterior = (np.stack(each) for each in zip(*found, strict=True))
    arrays = {
        "index": index,
        "label": np.stack([data.labels[first], data.labels[second]], axis=1),
        "alpha": alpha.numpy(),
        "bits_per_dim": bits,
        "score": scores,
        "accepted": accepted,
        "posterior": posterior.astype(np.float16),
        "strips": np.stack([_strip(data, pair) for pair in index[:STRIPS]]),
    }
    about = {
        "class_prior": classifier.class_prior,
        "warnings": warnings_on(classifier.density, arrays["bits_per_dim"][:, [0, -1]].ravel()),
    }
    return Record(
        "interpolation", summarize(arrays, summary_of(detector, classifier.density), about), arrays
    )


class InterpolationSettings(AuditSettings):
    """``pairs``: number of paths between two images; ``alphas``: number of points on each path."""

    pairs: Annotated[int, Field(ge=2)] = 1000
    alphas: Annotated[int, Field(ge=3)] = 100


def make(subject: Subject, settings: InterpolationSettings) -> Record:
    """Run the audit on a subject."""
    return interpolation(
        subject.classifier,
        subject.splits.test,
        detector=subject.detector,
        pairs=settings.pairs,
        alphas=settings.alphas,
        seed=subject.seed,
        quiet=subject.quiet,
    )


def at_threshold(record: Record, threshold: float) -> Record:
    """Recompute the record for another threshold, from the pairs with both ends accepted by it.

    Raises:
        CondgenError: If the threshold accepts the ends of fewer than two pairs.
    """
    scores = record.arrays.get("score", record.arrays["bits_per_dim"])
    accepted = scores <= threshold
    kept = accepted[:, 0] & accepted[:, -1]
    if kept.sum() < 2:
        raise CondgenError(
            f"a threshold of {threshold:g} accepts the ends of {int(kept.sum())} pairs, expected at"
            " least 2; use a higher threshold."
        )
    rows = ("index", "label", "bits_per_dim", "posterior")
    arrays = {**record.arrays, **{key: record.arrays[key][kept] for key in rows}}
    arrays |= {"score": scores[kept], "accepted": accepted[kept]}
    arrays["strips"] = arrays["strips"][kept[: len(arrays["strips"])]]
    return replace(record, summary=summarize(arrays, *at(record, threshold)), arrays=arrays)


AUDIT = AUDITS.register("interpolation")(
    Audit(
        "interpolation", InterpolationSettings, make, uses_detector=True, at_threshold=at_threshold
    )
)


def summarize(
    arrays: dict[str, NDArray[Any]], detector: dict[str, Any], about: dict[str, Any]
) -> dict[str, Any]:
    """Fig. 4's curves and the share of pairs accepted at every step, from the per-pair arrays.

    ``about`` has further facts about the model.
    """
    bits, index = arrays["bits_per_dim"].astype(np.float64), arrays["index"]
    steps = bits.shape[1]
    # an even number of steps has two points next to alpha = 1/2
    middle = bits[:, (steps - 1) // 2 : steps // 2 + 1].mean(axis=1)
    ends = (bits[:, 0] + bits[:, -1]) / 2
    stay = np.all(arrays["accepted"], axis=1)
    with np.errstate(invalid="ignore"):  # the difference of two infinite bits/dim is NaN
        measured = np.column_stack([bits, middle - ends])
    means, spans = intervals.paired_spans(measured, index)
    stays, stays_ci = intervals.paired_share(stay, index)
    summary: dict[str, Any] = as_json(
        {
            "pairs": len(bits),
            "images": len(np.unique(index)),
            "alpha": arrays["alpha"].tolist(),
            "bits_per_dim": means[:-1].tolist(),
            "bits_per_dim_ci": spans[:-1].tolist(),
            "posterior_0": arrays["posterior"][..., 0].mean(axis=0, dtype=np.float64).tolist(),
            "posterior_1": arrays["posterior"][..., 1].mean(axis=0, dtype=np.float64).tolist(),
            "threshold": detector["threshold"],
            "detector": detector,
            "accepted_at_every_step": stays,
            "accepted_at_every_step_ci": list(stays_ci),
            "bits_per_dim_ends": float(ends.mean()),
            "bits_per_dim_middle": float(middle.mean()),
            "middle_minus_ends": float(means[-1]),
            "middle_minus_ends_ci": spans[-1].tolist(),
            **about,
        }
    )
    return summary


def _draw_pairs(
    classifier: GenerativeClassifier, data: ImageDataset, detector: Detector, pairs: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    found = [
        (p.label.numpy(), ~flagged(detector, p).numpy()) for p in predictions(classifier, data)
    ]
    predicted, accepted = (np.concatenate(part) for part in zip(*found, strict=True))
    usable = np.flatnonzero((predicted == data.labels) & accepted)
    classes = data.labels[usable]
    if len(np.unique(classes)) < 2:
        raise CondgenError(
            f"only {len(usable)} of {len(data)} test images are classified correctly and accepted,"
            f" of {len(np.unique(classes))} classes; interpolation needs two classes. Raise"
            f" detector.threshold, now {float(detector.threshold):g}, or train longer."
        )
    random = numpy_stream(seed, "pairs")
    first = random.choice(usable, size=pairs)
    second = np.array([random.choice(usable[classes != y]) for y in data.labels[first]])
    return first, second


def _strip(data: ImageDataset, pair: NDArray[np.int64]) -> NDArray[np.float32]:
    (start, end), _ = data.batch(pair)
    alpha = torch.linspace(0, 1, STRIP_IMAGES)[:, None, None, None]
    return torch.lerp(start, end, alpha).numpy()
