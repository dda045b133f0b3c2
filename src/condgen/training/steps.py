"""The training step interface: what the loop needs of a way to train."""

import abc
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from condgen.classifier import GenerativeClassifier
from condgen.data.dataset import ImageDataset
from condgen.errors import TrainingError

REPORTED_AS_MAXIMUM = frozenset(
    {"gradient_norm"}
)  # of an epoch; other metrics are reported as means


class NonFiniteLoss(TrainingError):
    """The loss or its gradient is not finite; no parameter was changed."""


class TrainingStep(abc.ABC):
    """Owns networks, optimizers and metrics; :func:`condgen.training.loop.fit_step` does the rest.

    A subclass implements the abstract methods. Modules beside the density, such as a critic, are
    saved and restored when :attr:`modules` names them.

    Args:
        classifier: Its density is what training is for: audits and samples use :meth:`weights`.

    Attributes:
        monitor: The validation metric that picks the best checkpoint; lower is better.
        advice: One sentence: what to do when a number is not finite.
        description: Of the objective. Training resumes only under an equal description.
    """

    monitor: str = "loss"
    advice: str = "Lower the learning rate."

    def __init__(self, classifier: GenerativeClassifier):
        self.classifier = classifier
        self.description = f"{type(self).__module__}.{type(self).__qualname__}"

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """All that has weights, by name; saved in checkpoints."""
        return {"density": self.classifier.density}

    @property
    @abc.abstractmethod
    def taken(self) -> int:
        """How many times :meth:`step` has succeeded."""

    @abc.abstractmethod
    def step(self, x: Tensor, label: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Take one optimizer step.

        Args:
            x: Images in [0, 1], shape ``(N, C, H, W)``, on the CPU or on the device.
            label: Class of each image, int64, shape ``(N,)``.
            generator: Of all that is random in the step.

        Returns:
            Scalar metrics of the batch, on the device, with the same names in every step.

        Raises:
            NonFiniteLoss: If the loss or its gradient is not finite; parameters are unchanged.
        """

    @abc.abstractmethod
    def validate(self, data: ImageDataset, seed: int) -> dict[str, float]:
        """Metrics on held-out images, :attr:`monitor` among them, with the weights in use."""

    @abc.abstractmethod
    def state(self) -> dict[str, Tensor]:
        """What to resume from beside :attr:`modules`: the optimizers' tensors, by name."""

    @abc.abstractmethod
    def restore(self, state: Mapping[str, Tensor], taken: int) -> None:
        """Continue from :meth:`state` after ``taken`` steps; :attr:`modules` are restored before."""

    def weights(self) -> dict[str, Tensor]:
        """Of the density, as audits and samples use them."""
        return dict(self.classifier.density.state_dict())
