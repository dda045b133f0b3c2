"""Fig. 3: bits/dim of images under the right label and under a wrong one."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from condgen.audits import intervals
from condgen.audits.audit import Audit
from condgen.audits.predictions import check_auditable, predictions, warnings_on
from condgen.audits.records import Record
from condgen.audits.subject import Subject
from condgen.classifier import GenerativeClassifier
from condgen.config import AuditSettings
from condgen.data.dataset import ImageDataset
from condgen.files import as_json
from condgen.registry import AUDITS


def label_likelihood(classifier: GenerativeClassifier, data: ImageDataset) -> Record:
    """Bits/dim of each image under its right class and under the likeliest wrong class (Sec. 4.2).

    The AUROC is that of bits/dim as a detector of wrong labels, with the pair (image, wrong label)
    as the positive. At 0.5 the likelihood does not detect wrong labels, at 1 it detects all.
    """
    check_auditable(classifier, data, classes=2)
    class_bits = np.concatenate(
        [prediction.class_bits_per_dim.numpy() for prediction in predictions(classifier, data)]
    )
    own = np.eye(classifier.density.num_classes, dtype=bool)[data.labels]
    arrays = {
        "label": data.labels,
        "bits_per_dim_right": class_bits[own],
        "bits_per_dim_wrong": np.where(own, math.inf, class_bits).min(1),
        "dims": np.array(classifier.density.dims),
    }
    warnings = warnings_on(classifier.density, arrays["bits_per_dim_right"])
    about = {"class_prior": classifier.class_prior, "warnings": warnings}
    return Record("label-likelihood", summarize(arrays) | about, arrays)


def make(subject: Subject, _: AuditSettings) -> Record:
    """Run the audit on a subject."""
    return label_likelihood(subject.classifier, subject.splits.test)


AUDIT = AUDITS.register("label-likelihood")(Audit("label-likelihood", AuditSettings, make))


def summarize(arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """Fig. 3's numbers from the per-image arrays."""
    nats = float(arrays["dims"]) * math.log(2)
    right, wrong = arrays["bits_per_dim_right"], arrays["bits_per_dim_wrong"]
    area, area_ci = intervals.paired_auroc(right, wrong)
    right_mean, right_ci = intervals.mean(right)
    wrong_mean, wrong_ci = intervals.mean(wrong)
    with np.errstate(invalid="ignore"):  # the difference of two infinite bits/dim is NaN
        gap, gap_ci = intervals.mean((wrong - right) * nats)
    spread = float(np.std(right, ddof=1)) * nats if np.isfinite(right).all() else None
    summary: dict[str, Any] = as_json(
        {
            "n": len(right),
            "positive": "wrong label",
            "auroc": area,
            "auroc_ci": area_ci,
            "bits_per_dim_right": right_mean,
            "bits_per_dim_right_ci": right_ci,
            "bits_per_dim_wrong": wrong_mean,
            "bits_per_dim_wrong_ci": wrong_ci,
            "gap_nats": gap,
            "gap_nats_ci": gap_ci,
            "spread_nats": spread,
        }
    )
    return summary
