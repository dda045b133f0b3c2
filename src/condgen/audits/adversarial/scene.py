"""What an adversarial audit works on: a classifier, its detector, and images that it gets right and accepts."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from condgen.attacks import Evade, Goal, Misclassify, Search, Target
from condgen.audits.predictions import predict
from condgen.classifier import GenerativeClassifier
from condgen.data.dataset import ImageDataset
from condgen.detectors import Detector, flagged
from condgen.errors import CondgenError
from condgen.randomness import numpy_stream

POOL = 200  # real images that decision-based attacks may start from


@dataclass(frozen=True)
class Scene:
    """The images under attack and their goals.

    Args:
        classifier, detector: What is attacked.
        x, label: Images that are classified correctly and accepted.
        index: Their places in the data set.
        target: Wrong classes to aim at, or ``None``.
        pool: Other such images, to start from.
        drawn, correct, accepted: How many images were drawn, classified correctly, and accepted.
        seed: Of everything random.
    """

    classifier: GenerativeClassifier
    detector: Detector
    x: Tensor
    label: Tensor
    index: NDArray[np.int64]
    target: Tensor | None
    pool: Tensor
    drawn: int
    correct: int
    accepted: int
    seed: int

    def goal(self, knows_detector: bool) -> Goal:
        """One wish per image; the detector's margin counts in nats where its score is bits/dim."""
        goal: Goal = Misclassify(self.label) if self.target is None else Target(self.target, self.label)
        return Evade(goal, self.detector, weight=self.classifier.density.dims * np.log(2)) if knows_detector else goal

    @cached_property
    def has_gradient(self) -> bool:
        """Whether the model's answer depends differentiably on the image."""
        try:
            Search(self.classifier, self.x[:1], Misclassify(self.label[:1])).gradients(
                self.x[:1], torch.tensor([0]), lambda margins: margins[:, 0]
            )
        except CondgenError:
            return False
        return True

    def plan(self) -> dict[str, Any]:
        """All that results depend on besides the attacks; JSON."""
        weights = hashlib.sha256()
        for tensor in self.classifier.state_dict().values():
            weights.update(tensor.cpu().numpy().tobytes())
        return {
            "weights": weights.hexdigest(),
            "threshold": self.detector.threshold,
            "index": self.index.tolist(),
            "target": None if self.target is None else self.target.tolist(),
            "seed": self.seed,
        }


def draw(
    classifier: GenerativeClassifier,
    data: ImageDataset,
    starts: ImageDataset,
    detector: Detector,
    images: int,
    targeted: bool,
    seed: int,
) -> Scene:
    """Draw images at random and keep those that are classified correctly and accepted.

    Raises:
        CondgenError: If none is.
    """
    index = numpy_stream(seed, "adversarial images").permutation(len(data))[:images]
    x, label = data.batch(index)
    correct, accepted = _correct_and_accepted(classifier, detector, x, label)
    usable = correct & accepted
    if not usable.any():
        raise CondgenError(
            f"of {len(x)} test images {int(correct.sum())} are correct and {int(accepted.sum())} accepted, none both:"
            f" nothing to attack. Raise the detector's threshold, now {detector.threshold:g}, or train longer."
        )
    held, held_label = starts.batch(numpy_stream(seed, "adversarial starts").permutation(len(starts))[:POOL])
    fit = torch.stack(_correct_and_accepted(classifier, detector, held, held_label)).all(0)
    target = None
    if targeted:
        offset = numpy_stream(seed, "adversarial targets").integers(1, data.num_classes, size=int(usable.sum()))
        target = (label[usable] + torch.from_numpy(offset)) % data.num_classes
    return Scene(
        classifier,
        detector,
        x[usable],
        label[usable],
        index[usable.numpy()],
        target,
        held[fit],
        len(x),
        int(correct.sum()),
        int(accepted.sum()),
        seed,
    )


def _correct_and_accepted(
    classifier: GenerativeClassifier, detector: Detector, x: Tensor, label: Tensor
) -> tuple[Tensor, Tensor]:
    prediction = predict(classifier, x)
    return prediction.label == label, ~flagged(detector, prediction)
