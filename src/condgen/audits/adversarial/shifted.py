"""A density with a constant added to every class log-likelihood, to test invariance to it."""

from torch import Tensor

from condgen.density import ClassConditionalDensity


class Shifted(ClassConditionalDensity):
    """``density`` with ``constant`` nats added to the log-likelihood of every class."""

    def __init__(self, density: ClassConditionalDensity, constant: float):
        super().__init__()
        self.density, self.constant = density, constant
        self.num_classes, self.event_shape = density.num_classes, density.event_shape
        self.bounds, self.pixel_levels = density.bounds, density.pixel_levels
        self.discrete = density.discrete

    def class_log_prob(self, x: Tensor) -> Tensor:
        return self.density.class_log_prob(x) + self.constant
