"""The input of an adversarial audit: a classifier, a detector, images and attack goals."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from condgen.attacks import Evade, Goal, Misclassify, Search, Target
from condgen.attacks.attack import frozen
from condgen.audits.adversarial.shards import SHARD
from condgen.audits.fingerprints import fingerprint
from condgen.classifier import GenerativeClassifier, predict
from condgen.data.dataset import ImageDataset
from condgen.detectors import Detector, flagged, score
from condgen.errors import CondgenError
from condgen.randomness import numpy_stream

POOL = 200  # real images drawn as candidate starting points of decision-based attacks


@dataclass(frozen=True)
class Scene:
    """The images under attack and their goals.

    Args:
        classifier, detector: The model under attack.
        x, label: Images that are classified correctly and accepted.
        index: Their indices in the data set.
        target: The wrong classes to attack toward; ``None`` for untargeted attacks.
        pool: Other images that are classified correctly and accepted, to start from.
        drawn, correct, accepted: Numbers of images drawn, classified correctly, and accepted.
        seed: Seed of everything random.
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

    def goal(self, detector_aware: bool) -> Goal:
        """The goal of each image, detector-aware or not."""
        goal: Goal = (
            Misclassify(self.label) if self.target is None else Target(self.target, self.label)
        )
        return Evade(goal, self.detector) if detector_aware else goal

    @property
    def gradients(self) -> tuple[Tensor, ...] | None:
        """Gradients of the class margin and of the detector's margin at the images.

        ``None`` if the model has no gradient.
        """
        return self._gradients and self._gradients[0]

    @property
    def broken(self) -> Tensor:
        """The images whose gradient has a non-finite entry, bool of shape ``(n,)``."""
        return (
            torch.zeros(len(self.x), dtype=torch.bool)
            if self._gradients is None
            else self._gradients[1]
        )

    @cached_property
    def _gradients(self) -> tuple[tuple[Tensor, ...], Tensor] | None:
        found, broken = [], []
        with torch.inference_mode(False), frozen(self.classifier):
            for part in torch.arange(len(self.x)).split(SHARD):
                search = Search(self.classifier, self.x[part], self.goal(detector_aware=True)[part])
                search.margins(search.x, search.everyone)
                try:
                    found.append(
                        search.gradients(search.x, search.everyone, *search.each_margin)[1:]
                    )
                except CondgenError:
                    return None
                broken.append(search.broken)
        return tuple(map(torch.cat, zip(*found, strict=True))), torch.cat(broken)

    def plan(self) -> dict[str, Any]:
        """All that results depend on besides the attacks, as JSON.

        Images, model and detector, and the predictions and scores of both.
        """
        prediction = predict(self.classifier, torch.cat([self.x, self.pool]))
        return {
            "images": fingerprint([self.x, self.label, self.pool, self.target]),
            "answers": fingerprint([prediction.class_log_prob, score(self.detector, prediction)]),
            "classifier": fingerprint([self.classifier, self.classifier.density.settings]),
            "class prior": self.classifier.class_prior,
            "bounds": list(self.classifier.density.bounds),
            "levels": self.classifier.density.pixel_levels,
            "detector": fingerprint(self.detector),
            "threshold": float(self.detector.threshold),
            "seed": self.seed,
        }


def draw(
    classifier: GenerativeClassifier,
    data: ImageDataset,
    starting_points: ImageDataset,
    detector: Detector,
    images: int,
    targeted: bool,
    seed: int,
) -> Scene:
    """Draw images at random and keep those that are classified correctly and accepted.

    Raises:
        CondgenError: If no image is, or ``starting_points`` is not a data set.
    """
    if not isinstance(starting_points, ImageDataset):
        raise CondgenError(
            f"starting_points is a {type(starting_points).__name__}, expected an ImageDataset of"
            " images that are not attacked, such as ImageDataset(images, labels) or"
            " open_dataset(...).validation."
        )
    index = numpy_stream(seed, "adversarial images").permutation(len(data))[:images]
    x, label = data.batch(index)
    correct, accepted = _correct_and_accepted(classifier, detector, x, label)
    usable = correct & accepted
    if not usable.any():
        raise CondgenError(
            f"no image to attack: of {len(x)} test images, {int(correct.sum())} are classified"
            f" correctly, {int(accepted.sum())} are accepted, and none is both. Raise the"
            f" detector's threshold, now {float(detector.threshold):g}, or train longer."
        )
    held, held_label = starting_points.batch(
        numpy_stream(seed, "adversarial starts").permutation(len(starting_points))[:POOL]
    )
    fit = torch.stack(_correct_and_accepted(classifier, detector, held, held_label)).all(0)
    target = _targets(label[usable], classifier.density.num_classes, seed) if targeted else None
    counts = len(x), int(correct.sum()), int(accepted.sum())
    return Scene(
        classifier,
        detector,
        x[usable],
        label[usable],
        index[usable.numpy()],
        target,
        held[fit],
        *counts,
        seed,
    )


def _correct_and_accepted(
    classifier: GenerativeClassifier, detector: Detector, x: Tensor, label: Tensor
) -> tuple[Tensor, Tensor]:
    prediction = predict(classifier, x)
    return prediction.label == label, ~flagged(detector, prediction)


def _targets(label: Tensor, num_classes: int, seed: int) -> Tensor:
    """A wrong class for each image, drawn uniformly."""
    offset = numpy_stream(seed, "adversarial targets").integers(1, num_classes, size=len(label))
    return (label + torch.from_numpy(offset)) % num_classes
