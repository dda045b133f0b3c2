"""The classifier as other libraries expect one: a module from images to columns."""

import torch
from torch import Tensor, nn

from condgen.classifier import GenerativeClassifier
from condgen.detectors import Detector


class Logits(nn.Module):
    r"""Hands out :math:`\log p(x, y)` as logits; with a detector a last column that wins exactly where the image is flagged.

    The extra column is :math:`\max_y \log p(x, y)` plus ``weight`` times (score - threshold), so that any attack on a
    classifier with C + 1 classes attacks classifier and detector (Sec. 4.3), with gradients.

    Args:
        classifier: The model.
        detector: What refuses images, or ``None`` for C columns.
        weight: Of the detector's excess, in the unit of the other columns, nats.

    Examples:
        >>> from condgen import DiagonalGaussian, LikelihoodThreshold
        >>> classifier = GenerativeClassifier(DiagonalGaussian(torch.tensor([[0.2], [0.8]])))
        >>> Logits(classifier, LikelihoodThreshold(8.4))(torch.tensor([[0.1], [0.5]])).argmax(1)
        tensor([0, 2])
    """

    def __init__(self, classifier: GenerativeClassifier, detector: Detector | None = None, weight: float = 1.0):
        super().__init__()
        self.classifier, self.detector, self.weight = classifier, detector, weight

    def forward(self, x: Tensor) -> Tensor:
        """Columns of shape ``(N, C)``, or ``(N, C + 1)`` with a detector."""
        prediction = self.classifier(x)
        columns: Tensor = prediction.log_joint
        if self.detector is None:
            return columns
        excess = self.weight * (self.detector.score(prediction) - self.detector.threshold)
        return torch.cat([columns, (columns.amax(-1) + excess)[:, None]], dim=-1)
