"""What training minimises: one number per image, from a prediction and the true label."""

import math
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor
from torch.nn.functional import cross_entropy

from condgen.classifier import Prediction
from condgen.errors import ConfigError


class Objective(Protocol):
    def __call__(self, prediction: Prediction, label: Tensor) -> Tensor:
        """Loss in nats, shape ``(N,)``."""
        ...


@dataclass(frozen=True)
class Likelihood:
    r""":math:`-\log p(x \mid y) / D`: maximum likelihood alone, the paper's Base (Sec. 4.1)."""

    def __call__(self, prediction: Prediction, label: Tensor) -> Tensor:
        return -prediction.class_log_prob.gather(1, label[:, None]).squeeze(1) / prediction.dims


@dataclass(frozen=True)
class Reweight:
    r""":math:`-\log p(x \mid y) / D - \alpha \log p(y \mid x)`, eq. (6) with :math:`\alpha = 1`."""

    alpha: float = 1.0

    def __call__(self, prediction: Prediction, label: Tensor) -> Tensor:
        return Likelihood()(prediction, label) + self.alpha * cross_entropy(prediction.log_joint, label, reduction="none")


@dataclass(frozen=True)
class Split:
    r""":math:`-\log p(x \mid y) / D - \alpha \log p(y \mid z_s)`: the cross-entropy sees the class subspace alone (A.4)."""

    alpha: float = 1.0

    def __call__(self, prediction: Prediction, label: Tensor) -> Tensor:
        if prediction.subspace_log_prob is None:
            raise ConfigError("objective 'split' needs a model with a class subspace; set model.prior = \"split\".")
        logits = prediction.subspace_log_prob + prediction.log_prior
        return Likelihood()(prediction, label) + self.alpha * cross_entropy(logits, label, reduction="none")


def bits_per_dim(prediction: Prediction, label: Tensor) -> Tensor:
    r""":math:`-\log_2 p(x \mid y) / D`, shape ``(N,)``."""
    return Likelihood()(prediction, label) / math.log(2)
