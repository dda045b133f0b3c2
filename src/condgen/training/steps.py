"""The training step interface, which the training loop calls."""

import abc
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from condgen.classifier import GenerativeClassifier
from condgen.data.dataset import ImageDataset
from condgen.errors import TrainingError

# maximum over an epoch; other metrics are reported as means
REPORTED_AS_MAXIMUM = frozenset({"gradient_norm"})


class NonFiniteLoss(TrainingError):
    """The loss or its gradient is not finite; no parameter was changed."""


class TrainingStep(abc.ABC):
    """Owns networks, optimizers and metrics; :func:`condgen.training.loop.fit_step` runs it.

    Implement the abstract methods in a subclass. Modules besides the density, such as a critic, are
    saved and restored if :attr:`modules` names them.

    Args:
        classifier: The classifier whose density is trained. Audits and samples use :meth:`weights`.

    Attributes:
        monitor: The validation metric that picks the best checkpoint; lower is better.
        advice: One sentence: what to do if the loss or gradient is not finite.
        description: Text that identifies the objective. Training resumes only if it is equal.
        shared: Whether several processes can train it: each gets its rows of a batch, and all must
            end a step with equal parameters.
    """

    monitor: str = "loss"
    advice: str = "Lower the learning rate."
    shared: ClassVar[bool] = False

    def __init__(self, classifier: GenerativeClassifier):
        self.classifier = classifier
        self.description = f"{type(self).__module__}.{type(self).__qualname__}"

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """All modules with weights, by name; saved in checkpoints."""
        return {"density": self.classifier.density}

    @property
    @abc.abstractmethod
    def taken(self) -> int:
        """The number of successful calls of :meth:`step`."""

    @abc.abstractmethod
    def step(self, x: Tensor, label: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Take one optimizer step.

        Args:
            x: Images in [0, 1], shape ``(N, C, H, W)``, on the CPU or on the device.
            label: Class of each image, int64, shape ``(N,)``.
            generator: Random generator of the step.

        Returns:
            Scalar metrics of the batch, on the device, with the same names in every step.

        Raises:
            NonFiniteLoss: If the loss or its gradient is not finite; parameters are unchanged.
        """

    @abc.abstractmethod
    def validate(self, data: ImageDataset, seed: int) -> dict[str, float]:
        """Metrics on held-out images, including :attr:`monitor`, with :meth:`weights`."""

    @abc.abstractmethod
    def state(self) -> dict[str, Tensor]:
        """Tensors to resume from besides :attr:`modules`, by name: those of the optimizers."""

    @abc.abstractmethod
    def restore(self, state: Mapping[str, Tensor], taken: int) -> None:
        """Continue from :meth:`state` after ``taken`` steps; the modules are already restored."""

    def weights(self) -> dict[str, Tensor]:
        """Weights of the density, as audits and samples use them."""
        return dict(self.classifier.density.state_dict())
