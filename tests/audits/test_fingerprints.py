"""A fingerprint differs if and only if the results may differ."""

import functools
import importlib
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from condgen import DiagonalGaussian, GenerativeClassifier
from condgen.audits.fingerprints import fingerprint
from condgen.classifier import predict
from condgen.detectors import LikelihoodThreshold, Typicality
from condgen.randomness import stream
from tests.conftest import tiny_glow


@dataclass(frozen=True, slots=True)
class Slotted:
    values: tuple[float, ...]


class Configured(nn.Linear):
    """A network with an attribute ``settings`` that is unrelated to condgen."""

    def __init__(self, scale: float):
        super().__init__(1, 1)
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)
        self.settings = {"scale": scale}


class Methods:
    def __init__(self, number: int = 0):
        self.number = number

    def one(self) -> int:
        return self.number

    def two(self) -> int:
        return 2 * self.number


APART = {
    "bound methods": (Methods().one, Methods().two),
    "of other objects": (Methods(1).one, Methods(2).one),
    "partial": (functools.partial(max, 1), functools.partial(max, 2)),
    "defaults": (lambda x=1: x, lambda x=2: x),
    "precision": (torch.ones(3), torch.ones(3).double()),
    "bfloat16": (torch.tensor([1.0]).bfloat16(), torch.tensor([1.01]).bfloat16()),
    "complex": (torch.tensor([1 + 1j]), torch.tensor([1 + 2j])),
    "slots": (Slotted(tuple(np.zeros(2000))), Slotted((*np.zeros(1000), 1.0, *np.zeros(999)))),
    "prior": tuple(
        GenerativeClassifier(tiny_glow(), prior) for prior in (None, torch.tensor([0.5, 0.3, 0.2]))
    ),
    "weights": tuple(GenerativeClassifier(tiny_glow(strength=s)) for s in (0.2, 0.21)),
    "settings": (Configured(1.0), Configured(2.0)),
    "threshold": (LikelihoodThreshold(1.0), LikelihoodThreshold(2.0)),
    "detector": (LikelihoodThreshold(1.0), Typicality(1.0)),
}


@pytest.mark.parametrize("kind", APART)
def test_what_differs_is_told_apart(kind: str) -> None:
    one, other = APART[kind]
    assert fingerprint(one) == fingerprint(one)
    assert fingerprint(one) != fingerprint(other)


MODEL = """
import torch
from condgen import DiagonalGaussian
from {name}_helpers import clean

SCALE = {scale}
FACTORS = {{"all": [{factor}]}}
_calls = 0

def shift(x):
    return x + SCALE * FACTORS["all"][0]

class Mine(DiagonalGaussian):
    {attribute}

    @property
    def offset(self):
        return {offset}

    def class_log_prob(self, x):
        global _calls
        _calls += 1
        return super().class_log_prob(clean(shift(x))) + self.offset
"""
HELPERS = "def clean(x):\n    return x.clamp({low}, 1)\n\n\ndef unused(x):\n    return {unused}\n"
FIRST = {
    "scale": 0.1,
    "factor": 1.0,
    "attribute": "bounds = (0.0, 1.0)",
    "offset": 0.0,
    "low": 0,
    "unused": 1,
}


def written(folder: Path, name: str, **changed: object) -> object:
    """Import a model whose code is in two new files."""
    parts = {**FIRST, **changed, "name": name}
    (folder / f"{name}.py").write_text(MODEL.format(**parts))
    (folder / f"{name}_helpers.py").write_text(HELPERS.format(**parts))
    for module in (name, f"{name}_helpers"):
        sys.modules.pop(module, None)
    importlib.invalidate_caches()
    return importlib.import_module(name).Mine(torch.full((2, 1, 2, 2), 0.5))


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ({}, True),
        ({"unused": 2}, True),
        ({"scale": 0.2}, False),
        ({"factor": 2.0}, False),
        ({"attribute": "bounds = (-1.0, 1.0)"}, False),
        ({"offset": 1.0}, False),
        ({"low": 0.25}, False),
    ],
)
def test_the_code_of_a_model_counts_with_what_it_uses(
    changed: dict[str, object], same: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    name = f"mine{abs(hash(str(changed))) % 10**8}"
    first = fingerprint(written(tmp_path, name))
    assert (fingerprint(written(tmp_path, name, **changed)) == first) is same


def test_what_is_no_part_of_the_answer_does_not_count() -> None:
    classifier = GenerativeClassifier(tiny_glow())
    first = fingerprint(classifier)
    x = torch.rand(4, 1, 4, 4)
    predict(classifier, x)
    with classifier.density.fresh_noise(stream(0)):
        predict(classifier, x)
        assert fingerprint(classifier) == first
    classifier(x.requires_grad_()).class_log_prob.sum().backward()
    assert fingerprint(classifier.train()) == first


def test_what_cannot_be_compared_is_unlike_itself() -> None:
    opened = (number for number in range(3))
    assert fingerprint(opened) != fingerprint(opened)
    assert fingerprint(nn.Linear(2, 2)) != fingerprint(DiagonalGaussian(torch.rand(2, 1)))
