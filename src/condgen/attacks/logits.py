"""Adapter for other attack libraries: the classifier as a module that returns logits."""

import math

import torch
from torch import Tensor, nn

from condgen.classifier import GenerativeClassifier, check_classifier
from condgen.detectors import Detector, score
from condgen.detectors.base import check_detector, rejected, scale_of


class Logits(nn.Module):
    r"""Return :math:`\log p(x, y)` as logits; with a detector also a column for flagged images.

    This last column is the largest exactly if the image is flagged. It is
    :math:`\max_y \log p(x, y)` plus ``weight`` times (score - threshold). So any attack on a
    classifier with C + 1 classes attacks classifier and detector (Sec. 4.3), with gradients.

    Args:
        classifier: The model.
        detector: The detector that flags images, or ``None`` for C columns.
        weight: Weight of the detector's excess. Default: the detector's own scale, which converts
            its unit to nats, the unit of the other columns.

    Examples:
        >>> from condgen import DiagonalGaussian, LikelihoodThreshold
        >>> classifier = GenerativeClassifier(DiagonalGaussian(torch.tensor([[0.2], [0.8]])))
        >>> Logits(classifier, LikelihoodThreshold(8.4))(torch.tensor([[0.1], [0.5]])).argmax(1)
        tensor([0, 2])
    """

    def __init__(
        self,
        classifier: GenerativeClassifier,
        detector: Detector | None = None,
        weight: float | None = None,
    ):
        super().__init__()
        check_classifier(classifier)
        if detector is not None:
            check_detector(detector)
        self.classifier, self.detector = classifier, detector
        if weight is None:
            weight = 1.0 if detector is None else scale_of(detector, classifier.density.dims)
        self.weight = weight

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of shape ``(N, C)``, or ``(N, C + 1)`` with a detector."""
        prediction = self.classifier(x)
        columns: Tensor = prediction.log_joint
        if self.detector is None:
            return columns
        best = columns.amax(-1)
        scores, threshold = score(self.detector, prediction), self.detector.threshold
        last = best + self.weight * (scores - threshold)
        # an excess too small for the columns' precision
        lost = rejected(scores, threshold) & ~(last > best)
        above = (
            best.detach().nextafter(torch.full_like(best, math.inf))
            + (last - last.detach()).nan_to_num()
        )
        last = torch.where(lost, above, last)
        return torch.cat([columns, last[:, None]], dim=-1)
