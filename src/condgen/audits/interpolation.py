"""Figs. 1, 4 and 6: what the model makes of the straight line between two images of different classes."""

from dataclasses import replace
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from rich.progress import track

from condgen.audits import intervals
from condgen.audits.audit import Audit
from condgen.audits.predictions import check_auditable, check_numbers
from condgen.audits.records import Record
from condgen.audits.subject import Subject
from condgen.classifier import GenerativeClassifier, predict
from condgen.config import AuditSettings
from condgen.data.dataset import ImageDataset
from condgen.detectors import Detector, flagged, score
from condgen.detectors.base import summary_of
from condgen.errors import CondgenError
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
    r"""Bits/dim and class posteriors along :math:`x_\alpha = \alpha x_1 + (1 - \alpha) x_0` (Sec. 4.4).

    The ends are test images that are classified correctly and accepted by the detector, of two different classes, drawn
    at random.

    Raises:
        CondgenError: If no two such images of different classes exist, or fewer than 2 pairs or 3 alphas are asked for.
    """
    check_auditable(classifier, data, classes=2)
    check_count("pairs", pairs, 2)
    check_count("alphas", alphas, 3)
    x, label = data.batch(slice(None))
    first, second = _draw_pairs(classifier, x, label, detector, pairs, seed)
    alpha = torch.linspace(0, 1, alphas)
    bits, scores, accepted, posterior = [], [], [], []
    for i, j in track(list(zip(first, second, strict=True)), "interpolation", disable=quiet, transient=True):
        line = torch.lerp(x[i], x[j], alpha[:, None, None, None])
        prediction = predict(classifier, line)
        check_numbers(prediction)
        bits.append(prediction.bits_per_dim.numpy())
        scores.append(score(detector, prediction).numpy())
        accepted.append(~flagged(detector, prediction).numpy())
        posterior.append(prediction.log_posterior[:, [label[i], label[j]]].exp().numpy())
    chosen = np.stack([first[:STRIPS], second[:STRIPS]], axis=1)
    arrays = {
        "index": np.stack([first, second], axis=1),
        "label": np.stack([label[first].numpy(), label[second].numpy()], axis=1),
        "alpha": alpha.numpy(),
        "bits_per_dim": np.stack(bits),
        "score": np.stack(scores),
        "accepted": np.stack(accepted),
        "posterior": np.stack(posterior).astype(np.float16),
        "strips": np.stack([_strip(x[i], x[j]) for i, j in chosen]),
    }
    return Record("interpolation", summarize(arrays, summary_of(detector)), arrays)


class InterpolationSettings(AuditSettings):
    """``pairs`` of images, and ``alphas``: steps along each path."""

    pairs: Annotated[int, Field(ge=2)] = 1000
    alphas: Annotated[int, Field(ge=3)] = 100


def make(subject: Subject, settings: InterpolationSettings) -> Record:
    """The audit of a subject."""
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
    """The record for another threshold of its detector, of the pairs whose ends that threshold accepts.

    Raises:
        CondgenError: If it accepts the ends of fewer than two pairs.
    """
    scores = record.arrays.get("score", record.arrays["bits_per_dim"])
    accepted = scores <= threshold
    kept = accepted[:, 0] & accepted[:, -1]
    if kept.sum() < 2:
        raise CondgenError(f"a threshold of {threshold:g} accepts the ends of {int(kept.sum())} pairs; 2 are needed.")
    rows = ("index", "label", "bits_per_dim", "posterior")
    arrays = {**record.arrays, **{key: record.arrays[key][kept] for key in rows}}
    arrays |= {"score": scores[kept], "accepted": accepted[kept]}
    arrays["strips"] = arrays["strips"][kept[: len(arrays["strips"])]]  # those of the first pairs
    detector = {"name": "likelihood", "unit": "bits/dim", **record.summary.get("detector", {})}
    return replace(record, summary=summarize(arrays, {**detector, "threshold": threshold}), arrays=arrays)


AUDIT = AUDITS.register("interpolation")(
    Audit("interpolation", InterpolationSettings, make, uses_detector=True, at_threshold=at_threshold)
)


def summarize(arrays: dict[str, NDArray[Any]], detector: dict[str, Any]) -> dict[str, Any]:
    """Fig. 4's curves and the share of pairs that stay accepted, from the per-pair arrays."""
    bits, index = arrays["bits_per_dim"].astype(np.float64), arrays["index"]
    steps = bits.shape[1]
    middle = bits[:, (steps - 1) // 2 : steps // 2 + 1].mean(axis=1)  # an even number of steps has two around alpha = 1/2
    ends = (bits[:, 0] + bits[:, -1]) / 2
    stay = np.all(arrays["accepted"], axis=1)
    measured = np.column_stack([bits, middle - ends])
    means, errors = intervals.paired_means(measured, index)
    spans = np.stack([means - intervals.Z * errors, means + intervals.Z * errors], axis=1)
    stays, stays_ci = intervals.paired_share(stay, index)
    return {
        "pairs": len(bits),
        "images": len(np.unique(index)),
        "alpha": arrays["alpha"].tolist(),
        "bits_per_dim": means[:-1].tolist(),
        "bits_per_dim_ci": spans[:-1].tolist(),
        "posterior_0": arrays["posterior"][..., 0].mean(axis=0, dtype=np.float64).tolist(),
        "posterior_1": arrays["posterior"][..., 1].mean(axis=0, dtype=np.float64).tolist(),
        "threshold": detector["threshold"],
        "detector": detector,
        "accepted_all_along": stays,
        "accepted_all_along_ci": list(stays_ci),
        "bits_per_dim_ends": float(ends.mean()),
        "bits_per_dim_middle": float(middle.mean()),
        "middle_minus_ends": float(means[-1]),
        "middle_minus_ends_ci": spans[-1].tolist(),
    }


def _draw_pairs(
    classifier: GenerativeClassifier, x: torch.Tensor, label: torch.Tensor, detector: Detector, pairs: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    prediction = predict(classifier, x)
    usable = np.flatnonzero(((prediction.label == label) & ~flagged(detector, prediction)).numpy())
    classes = label.numpy()[usable]
    if len(np.unique(classes)) < 2:
        raise CondgenError(
            f"only {len(usable)} of {len(x)} test images are classified correctly and accepted, of {len(np.unique(classes))}"
            f" classes; interpolation needs two classes. Raise detector.threshold, now {detector.threshold:g}, or train longer."
        )
    random = numpy_stream(seed, "pairs")
    first = random.choice(usable, size=pairs)
    second = np.array([random.choice(usable[classes != y]) for y in label.numpy()[first]])
    return first, second


def _strip(start: torch.Tensor, end: torch.Tensor) -> NDArray[np.float32]:
    alpha = torch.linspace(0, 1, STRIP_IMAGES)[:, None, None, None]
    return torch.lerp(start, end, alpha).numpy()
