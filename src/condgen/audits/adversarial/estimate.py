"""The time that an adversarial audit will take, estimated before it starts."""

import time
from collections.abc import Callable, Mapping

import torch

from condgen.attacks import Attack, Search
from condgen.attacks.attack import frozen
from condgen.audits.adversarial.scene import Scene

TIMED = 8  # images
VERIFICATION = 40  # forward passes per image, at most, to verify and quantize a result
GOALS = 2  # without and with the detector


def estimated_seconds(scene: Scene, attacks: Mapping[str, Attack]) -> float:
    """Upper estimate: each attack spends its budget on each image and for each goal.

    Attacks that do not state their budget count as their verification only.
    """
    forward, backward = _seconds_per_image(scene)
    total = 0.0
    for attack in attacks.values():
        queries, gradients = attack.passes()
        total += (queries + VERIFICATION) * forward + gradients * backward
    return GOALS * len(scene.x) * total


def _seconds_per_image(scene: Scene) -> tuple[float, float]:
    """Seconds of a query and of a query with the gradient of the detector-aware loss."""
    rows = torch.arange(min(TIMED, len(scene.x)))
    with torch.inference_mode(False), frozen(scene.classifier):
        search = Search(scene.classifier, scene.x[rows], scene.goal(detector_aware=True)[rows])
        forward = _seconds(lambda: search.margins(search.x, search.everyone))
        if scene.gradients is None:
            return forward / len(rows), 0.0
        backward = _seconds(
            lambda: search.gradients(search.x, search.everyone, lambda margins: margins.sum(-1))
        )
    return forward / len(rows), backward / len(rows)


def _seconds(work: Callable[[], object]) -> float:
    work()  # the first call may allocate or compile
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
