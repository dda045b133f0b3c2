"""Fig. 3: does a wrong label make an image unlikely?"""

import math
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
from condgen.data.dataset import ImageDataset
from condgen.registry import AUDITS


def membership(classifier: GenerativeClassifier, data: ImageDataset, *, seed: int = 0) -> Record:
    """Bits/dim of each image under its right class and under the likeliest wrong one (Sec. 4.2).

    The AUROC is that of bits/dim as a detector of wrong labels: the pair (image, wrong label) is the positive, so that
    0.5 means that the likelihood cannot tell, and 1 that every wrong label is caught.
    """
    check_auditable(classifier, data, classes=2)
    x, label = data.batch(slice(None))
    prediction = predict(classifier, x)
    check_numbers(prediction)
    class_bits = prediction.class_bits_per_dim
    right = class_bits.gather(1, label[:, None]).squeeze(1)
    wrong = class_bits.scatter(1, label[:, None], math.inf).amin(1)
    arrays = {"label": label.numpy(), "bits_per_dim_right": right.numpy(), "bits_per_dim_wrong": wrong.numpy()}
    arrays["dims"] = np.array(classifier.density.dims)
    return Record("membership", summarize(arrays, seed), arrays)


def make(subject: Subject, _: AuditSettings) -> Record:
    """The audit of a subject."""
    return membership(subject.classifier, subject.splits.test, seed=subject.seed)


AUDIT = AUDITS.register("membership")(Audit("membership", AuditSettings, make))


def summarize(arrays: dict[str, NDArray[Any]], seed: int) -> dict[str, Any]:
    """Fig. 3's numbers from the per-image arrays."""
    nats = float(arrays["dims"]) * math.log(2)
    right, wrong = arrays["bits_per_dim_right"], arrays["bits_per_dim_wrong"]
    area, area_ci = intervals.paired_auroc(right, wrong, seed)
    right_mean, right_ci = intervals.mean(right)
    wrong_mean, wrong_ci = intervals.mean(wrong)
    gap, gap_ci = intervals.mean((wrong - right) * nats)
    return {
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
        "spread_nats": float(np.std(right, ddof=1)) * nats,
    }
