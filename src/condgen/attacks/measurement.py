"""Measures a finished search: verifies and quantizes each success, and takes its distances."""

from itertools import chain

import torch
from torch import Tensor

from condgen.attacks.goals import reached
from condgen.attacks.result import ALREADY, NOT_REACHED, REACHED, VANISHED, AttackResult
from condgen.attacks.search import Search, spread

# Shares of the line to the surest success, for a success that is lost outside of its batch.
INWARD = (1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 1.0)
# Factors of the perturbation, until the quantized image reaches the goal.
STRETCHES = (1.0, 1.002, 1.005, 1.01, 1.02, 1.03, 1.05, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0)
# Shares of the line to the surest success, tried next: further out a detector may flag the image.
STRIDES = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0)


def measure(search: Search, reasons: dict[int, str]) -> AttackResult:
    """Verify success on the returned images, one image at a time, and measure distances."""
    met = torch.isfinite(search.distance)
    quantized, stored = _quantize(search, torch.nonzero(met).flatten())
    perturbed, now = _verify(search, met)
    perturbed = torch.where(spread(now, perturbed), perturbed, search.x)
    moved = (perturbed - search.x).flatten(1)
    status = tuple(_status(search, i, bool(met[i]), bool(now[i]), reasons) for i in range(len(met)))
    return AttackResult(
        perturbed,
        quantized,
        now,
        stored & now,
        moved.norm(dim=1).masked_fill(~now, torch.inf),
        moved.abs().amax(1).masked_fill(~now, torch.inf),
        search.forward,
        search.backward,
        status,
    )


def _verify(search: Search, met: Tensor) -> tuple[Tensor, Tensor]:
    """The images to return, and which of them reach their goal when evaluated one by one.

    Rounding may put an image on the wrong side of a boundary; it is moved toward the surest
    success. A model that answers the same query differently gets no second try: each try would add
    successes by luck.
    """
    perturbed, now, everyone = (
        search.best.clone(),
        torch.zeros_like(met),
        torch.nonzero(met).flatten(),
    )
    first = _margins_one_by_one(search, perturbed[everyone], everyone)
    now[everyone] = reached(first)
    failed = torch.nonzero(~reached(first)).flatten()
    again = _margins_one_by_one(search, perturbed[everyone[failed]], everyone[failed])
    steady = torch.isclose(first[failed], again, rtol=0, atol=0, equal_nan=True).all(-1)
    left = everyone[failed[steady]]
    for share in INWARD:
        if not len(left):
            break
        perturbed[left] = search.countable(search.best[left].lerp(search.surest[left], share))
        now[left] = reached(_margins_one_by_one(search, perturbed[left], left))
        left = left[~now[left]]
    return perturbed, now


def _margins_one_by_one(search: Search, images: Tensor, index: Tensor) -> Tensor:
    """Margins of each image, evaluated in a batch of its own, shape ``(n, K)``."""
    answers = [
        search.margins(one, i) for one, i in zip(images.split(1), index.split(1), strict=True)
    ]
    return torch.cat(answers) if len(index) else search.margins(images, index)


def _status(search: Search, image: int, met: bool, now: bool, reasons: dict[int, str]) -> str:
    if not met:
        return reasons.get(image, NOT_REACHED)
    if not now:
        return VANISHED
    return ALREADY if search.distance[image] == 0 else REACHED


def _quantize(search: Search, met: Tensor) -> tuple[Tensor, Tensor]:
    """Quantized images, and whether they reach the goal.

    Quantizing a point on the boundary may lose the goal; a point further along keeps it.
    """
    shift = search.best - search.x
    onward = (search.clip(search.x + stretch * shift) for stretch in STRETCHES)
    inward = (search.best.lerp(search.surest, share) for share in STRIDES)
    quantized, keeps = (
        search.classifier.quantize(search.best),
        torch.zeros(len(shift), dtype=torch.bool),
    )
    for images in chain(onward, inward):
        left = met[~keeps[met]]
        stored = search.classifier.quantize(images[left])
        good = search.reached(stored, left)
        quantized[left[good]], keeps[left[good]] = stored[good], True
        if search.classifier.density.pixel_levels is None:
            break
    kept = torch.nonzero(keeps).flatten()
    keeps[kept] = reached(_margins_one_by_one(search, quantized[kept], kept))
    return quantized, keeps
