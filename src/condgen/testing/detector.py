"""Conformance checks for a detector."""

import copy
from typing import Any

import torch
from torch import Tensor

from condgen.audits.checks import Check
from condgen.classifier import GenerativeClassifier, evaluating, predict
from condgen.data.dataset import ImageDataset
from condgen.detectors import Detector, score
from condgen.errors import CondgenError

IMAGES = 32  # that are scored
AGREE = 1e-4  # relative: float32 sums over another batch


def check_detector(
    detector: Detector,
    classifier: GenerativeClassifier,
    train: ImageDataset,
    validation: ImageDataset,
) -> list[Check]:
    """Check what the library relies on in a detector.

    Args:
        detector: Not fitted; it is copied and fitted here.
        classifier: A model for the images.
        train: Images for ``fit``.
        validation: Images for ``fit``; the first of them are scored.

    Returns:
        One :class:`Check` for: its name and unit, the model left unchanged, shape, finite scores,
        independence of batch and random state, the gradient, what is saved, and scale.

    Raises:
        CondgenError: If there are fewer than two validation images.

    Examples:
        >>> from condgen import DiagonalGaussian, Typicality, open_dataset
        >>> splits = open_dataset("digits")
        >>> density = DiagonalGaussian.fitted(*splits.train.batch(slice(None)), pixel_levels=17)
        >>> classifier = GenerativeClassifier(density)
        >>> checks = check_detector(Typicality(), classifier, splits.train, splits.validation)
        >>> all(check.passed for check in checks)
        True
    """
    if len(validation) < 2:
        raise CondgenError("check_detector needs at least two validation images.")
    detector = copy.deepcopy(detector)
    before = _weights(classifier)
    with (
        torch.inference_mode(False),
        evaluating(classifier.density),
        torch.random.fork_rng(devices=[]),
    ):
        detector.fit(classifier, train, validation)
        x, _ = validation.batch(slice(IMAGES))
        checks = [_named(detector), _unchanged(before, _weights(classifier))]
        try:
            found = _scores(detector, classifier, x)
        except CondgenError as error:
            return [*checks, Check("shape", False, str(error), "score must return shape (N,).")]
        checks.append(Check("shape", True, f"{tuple(found.shape)}", ""))
        checks += [
            _finite(found),
            _batch(detector, classifier, x, found),
            _random_state(detector, classifier, x, found),
            _gradient(detector, classifier, x),
            _saved(detector),
            _scale(detector, classifier),
        ]
    return checks


def _scores(detector: Detector, classifier: GenerativeClassifier, x: Tensor) -> Tensor:
    return score(detector, predict(classifier, x), fitting=True)


def _weights(classifier: GenerativeClassifier) -> list[Tensor]:
    return [tensor.detach().clone() for tensor in classifier.density.state_dict().values()]


def _named(detector: Detector) -> Check:
    known = bool(getattr(detector, "name", ""))
    return Check(
        "name and unit",
        known and isinstance(detector.unit, str),
        f"name {detector.name!r}, unit {detector.unit!r}",
        'Set the class attributes name and unit, such as "entropy" and "nats".',
    )


def _unchanged(before: list[Tensor], after: list[Tensor]) -> Check:
    changed = sum(not torch.equal(*pair) for pair in zip(before, after, strict=True))
    return Check(
        "the model is unchanged",
        changed == 0,
        f"fit changed {changed} of {len(before)} tensors of the model",
        "Work on a copy of the model in fit.",
    )


def _finite(found: Tensor) -> Check:
    broken = int((~torch.isfinite(found)).sum())
    return Check(
        "finite",
        broken == 0,
        f"{broken} of {len(found)} validation images have no finite score",
        "Avoid 0 * inf and log(0) in score.",
    )


def _batch(detector: Detector, classifier: GenerativeClassifier, x: Tensor, found: Tensor) -> Check:
    alone = torch.cat([_scores(detector, classifier, image) for image in x.split(1)])
    same = torch.allclose(alone, found, rtol=AGREE, atol=AGREE, equal_nan=True)
    return Check(
        "independent of the batch",
        same,
        f"largest difference {(alone - found).abs().max():.1e}",
        "Take means over classes or pixels only, never over images of a batch.",
    )


def _random_state(
    detector: Detector, classifier: GenerativeClassifier, x: Tensor, found: Tensor
) -> Check:
    torch.manual_seed(1)
    again = _scores(detector, classifier, x)
    return Check(
        "independent of the random state",
        torch.allclose(again, found, rtol=0, atol=0, equal_nan=True),
        f"largest difference {(again - found).abs().max():.1e}",
        "Draw random numbers in fit, from a generator of your own, and keep them.",
    )


def _gradient(detector: Detector, classifier: GenerativeClassifier, x: Tensor) -> Check:
    advice = (
        "Detector-aware attacks with gradients need score to be differentiable in prediction.x."
    )
    with torch.enable_grad():
        images = x[:2].clone().requires_grad_()
        found = score(detector, classifier(images), fitting=True)
        if not found.requires_grad:
            return Check("gradient", False, "the score has no gradient", advice)
        (gradient,) = torch.autograd.grad(found.sum(), images, allow_unused=True)
    usable = gradient is not None and bool(torch.isfinite(gradient).all() and gradient.any())
    return Check(
        "gradient", usable, "finite and not zero" if usable else "zero, or not finite", advice
    )


def _saved(detector: Detector) -> Check:
    kept: tuple[Any, ...] = (bool, int, float, str, type(None), Tensor)
    other = [name for name, value in vars(detector).items() if not isinstance(value, kept)]
    return Check(
        "can be saved",
        not other,
        f"attributes of other types: {', '.join(other) or 'none'}",
        "Keep tensors, numbers and texts as attributes, so that a run is used without its data.",
    )


def _scale(detector: Detector, classifier: GenerativeClassifier) -> Check:
    found = detector.scale(classifier.density.dims)
    return Check(
        "scale",
        bool(0 < found < float("inf")),
        f"{found:g} nats per unit of the score",
        "scale(dims) is a positive number: nats per unit of the score.",
    )
