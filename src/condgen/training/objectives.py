"""Objectives: a loss per image from a prediction and the true label."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from torch import Tensor
from torch.nn.functional import cross_entropy

from condgen.density import ClassConditionalDensity
from condgen.errors import ConfigError
from condgen.prediction import Prediction

NO_SUBSPACE = "objective 'split' needs a model with a class subspace; set model.prior=split."


class Objective(Protocol):
    """The interface of an objective: a function of a prediction and the labels.

    If it has ``needs_class_subspace = True``, models without a class subspace are refused.
    """

    def __call__(self, prediction: Prediction, label: Tensor) -> Tensor:
        """Loss in nats, shape ``(N,)``."""
        ...


@dataclass(frozen=True)
class Likelihood:
    r""":math:`-\log p(x \mid y) / D`: maximum likelihood only, the paper's Base (Sec. 4.1)."""

    def __call__(self, prediction: Prediction, label: Tensor) -> Tensor:
        log_prob = prediction.class_log_prob.gather(1, label[:, None]).squeeze(1)
        return -log_prob / prediction.dims


@dataclass(frozen=True)
class Reweight:
    r""":math:`-\log p(x \mid y) / D - \alpha \log p(y \mid x)`, eq. (6) with :math:`\alpha = 1`."""

    alpha: float = 1.0

    def __call__(self, prediction: Prediction, label: Tensor) -> Tensor:
        class_loss = cross_entropy(prediction.log_joint, label, reduction="none")
        return Likelihood()(prediction, label) + self.alpha * class_loss


@dataclass(frozen=True)
class Split:
    r""":math:`-\log p(x \mid y) / D - \alpha \log p(y \mid z_s)`.

    The cross-entropy is that of the class subspace (A.4).
    """

    alpha: float = 1.0
    needs_class_subspace: ClassVar[bool] = True

    def __call__(self, prediction: Prediction, label: Tensor) -> Tensor:
        if prediction.subspace_log_prob is None:
            raise ConfigError(NO_SUBSPACE)
        logits = prediction.subspace_log_prob + prediction.log_prior
        class_loss = cross_entropy(logits, label, reduction="none")
        return Likelihood()(prediction, label) + self.alpha * class_loss


@dataclass(frozen=True)
class Ramp:
    r"""An objective whose :math:`\alpha` rises linearly from 0 over the first part of training.

    Without :meth:`at`, for example in validation, the full :math:`\alpha` is used.

    Args:
        objective: The objective with the final ``alpha``.
        over: Share of training over which it rises, in (0, 1].

    Examples:
        >>> Ramp(Reweight(alpha=0.8), over=0.5).at(0.25)
        Reweight(alpha=0.4)
    """

    objective: Reweight | Split
    over: float

    @property
    def needs_class_subspace(self) -> bool:
        return getattr(self.objective, "needs_class_subspace", False)

    def __call__(self, prediction: Prediction, label: Tensor) -> Tensor:
        return self.objective(prediction, label)

    def at(self, done: float) -> Reweight | Split:
        """The objective after a share ``done`` of training."""
        return dataclasses.replace(
            self.objective, alpha=self.objective.alpha * min(1.0, done / self.over)
        )


def check_objective(objective: Objective, density: ClassConditionalDensity) -> None:
    """Refuse an objective that needs a class subspace for a model without one.

    Raises:
        ConfigError: If the objective needs a class subspace and the model has none.
    """
    if getattr(objective, "needs_class_subspace", False) and not density.class_subspace:
        raise ConfigError(NO_SUBSPACE)


def described(objective: object) -> str:
    """The objective as text; equal objectives have equal text.

    >>> described(Reweight(alpha=0.5))
    'Reweight(alpha=0.5)'
    """
    if dataclasses.is_dataclass(objective):
        return repr(objective)
    named: Any = objective if hasattr(objective, "__qualname__") else type(objective)
    return f"{named.__module__}.{named.__qualname__}"


def bits_per_dim(prediction: Prediction, label: Tensor) -> Tensor:
    r""":math:`-\log_2 p(x \mid y) / D`, shape ``(N,)``."""
    return Likelihood()(prediction, label) / math.log(2)
