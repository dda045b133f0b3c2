"""Predictions for more images than fit one batch."""

import torch
from torch import Tensor

from condgen.classifier import GenerativeClassifier, Prediction

BATCH = 256


@torch.no_grad()
def predict(classifier: GenerativeClassifier, x: Tensor, batch: int = BATCH) -> Prediction:
    """One :class:`Prediction` for all of ``x``, computed ``batch`` images at a time, in evaluation mode; on the CPU."""
    classifier.eval()
    parts = [classifier(part).cpu() for part in x.split(batch)]
    subspaces = [part.subspace_log_prob for part in parts if part.subspace_log_prob is not None]
    return Prediction(
        torch.cat([part.class_log_prob for part in parts]),
        parts[0].log_prior,
        classifier.density.dims,
        torch.cat(subspaces) if subspaces else None,
    )
