"""The output layer: logistic components of each pixel, whose means depend on other channels."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, elu, log_softmax, one_hot

from condgen.errors import ConfigError
from condgen.models.pixelcnn import logistic
from condgen.models.pixelcnn.convolution import Convolution


class Components(NamedTuple):
    """Parameters of K logistic components per pixel.

    ``mean`` and ``log_scale`` have shape ``(N, K, channels, *)``, ``log_weight`` has shape
    ``(N, K, *)``; it is ``None`` with one component per class. ``coefficients`` of the lower
    channels in the means have shape ``(N, K, channels * (channels - 1) / 2, *)``.
    """

    mean: Tensor
    log_scale: Tensor
    coefficients: Tensor
    log_weight: Tensor | None

    def mean_of(self, channel: int, x: Tensor) -> Tensor:
        """Mean of a channel given the channels before it in ``x``, shape ``(N, K, *)``."""
        mean, first = self.mean[:, :, channel], channel * (channel - 1) // 2
        for lower in range(channel):
            mean = mean + self.coefficients[:, :, first + lower] * x[:, None, lower]
        return mean

    def means(self, x: Tensor) -> Tensor:
        """Means of all channels, shape ``(N, K, channels, *)``."""
        return torch.stack([self.mean_of(channel, x) for channel in range(x.shape[1])], 2)


class ClassOutputs(nn.Module):
    r"""A 1x1 convolution with outputs for each class: shared ones plus a scaled deviation.

    All classes begin equal. A step of Adam changes each weight by the learning rate, and the
    difference of two class log-likelihoods, a sum over all dimensions, by many times as much. With
    ``scale = 1`` the posterior of CIFAR10 changes by hundreds of nats per step, and the class term
    destroys the likelihood.

    Args:
        channels_in: Of the input, ``(N, channels_in, H, W)``.
        outputs: Channels of the output for each class.
        classes: Number C of classes.
        scale: Factor of the deviations.
    """

    def __init__(self, channels_in: int, outputs: int, classes: int, scale: float):
        super().__init__()
        self.classes, self.scale = classes, scale
        self.shared = Convolution(channels_in, outputs, (1, 1))
        self.deviation = nn.Parameter(torch.zeros(classes * outputs, channels_in, 1, 1))
        self.deviation_bias = nn.Parameter(torch.zeros(classes * outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Outputs of all classes, shape ``(N, C * outputs, H, W)``."""
        shared: Tensor = self.shared(x)
        deviation = conv2d(x, self.scale * self.deviation, self.scale * self.deviation_bias)
        return shared.repeat(1, self.classes, 1, 1) + deviation

    def weight(self) -> Tensor:
        """The weights of one convolution that is equal to this layer."""
        return self.shared.weight().repeat(self.classes, 1, 1, 1) + self.scale * self.deviation

    @property
    def bias(self) -> Tensor:
        """Its bias."""
        return self.shared.bias.repeat(self.classes) + self.scale * self.deviation_bias


class Mixture(nn.Module):
    """Maps activations to components and evaluates or draws pixels.

    Args:
        filters: Channels of the activations.
        channels: Channels of the images.
        components: Number K of components.
        weighted: Whether the components form a mixture with learned weights. Otherwise each of
            them is the density of one class (the paper, appendix E).
        levels: Number of values of a pixel.
        smallest_log_scale: Lower bound of the log-scales.
        class_scale: Factor of the classes' deviations; see :class:`ClassOutputs`.
    """

    def __init__(
        self,
        filters: int,
        channels: int,
        components: int,
        weighted: bool,
        levels: int,
        smallest_log_scale: float,
        class_scale: float,
    ):
        super().__init__()
        if components < 1:
            raise ConfigError(f"a mixture cannot have {components} components; use 1 or more.")
        if levels < 2:
            raise ConfigError(
                f"PixelCNN++ needs pixels of 2 or more levels, but there are {levels}."
            )
        self.channels, self.components, self.weighted = channels, components, weighted
        self.levels, self.smallest_log_scale = levels, smallest_log_scale
        each = 2 * channels + channels * (channels - 1) // 2 + weighted
        self.output: Convolution | ClassOutputs = (
            Convolution(filters, components * each, (1, 1))
            if weighted
            else ClassOutputs(filters, each, components, class_scale)
        )

    def forward(self, activations: Tensor) -> Components:
        """Components from ``(N, filters, H, W)``, computed in the precision of the parameters."""
        activations = activations.to(self.output.bias.dtype)
        return self.components_of(self.output(elu(activations)))

    def components_of(self, raw: Tensor) -> Components:
        """Components from the output of the last convolution, ``(N, K * each, *)``."""
        raw = raw.unflatten(1, (self.components, -1))
        mean, log_scale = raw[:, :, : self.channels], raw[:, :, self.channels : 2 * self.channels]
        end = raw.shape[2] - self.weighted
        return Components(
            mean,
            log_scale.clamp(self.smallest_log_scale, logistic.LARGEST_LOG_SCALE),
            raw[:, :, 2 * self.channels : end].tanh(),
            log_softmax(raw[:, :, -1], 1) if self.weighted else None,
        )

    def log_prob(self, components: Components, x: Tensor) -> Tensor:
        """Log-likelihood of images in [-1, 1] in nats.

        Shape ``(N, K)`` with one component per class, ``(N, 1)`` with a weighted mixture.
        """
        each = logistic.log_prob(
            x[:, None], components.means(x), components.log_scale, self.levels
        ).sum(2)
        if components.log_weight is not None:
            each = (each + components.log_weight).logsumexp(1, keepdim=True)
        return each.flatten(2).sum(2)

    def draw(
        self, components: Components, label: Tensor, uniform: Tensor, temperature: float
    ) -> Tensor:
        """One pixel of each image in [-1, 1], shape ``(N, channels)``.

        Args:
            components: Of this pixel, without spatial dimensions.
            label: Class of each image, shape ``(N,)``.
            uniform: Random numbers in [0, 1], shape ``(N, channels + 1)``; the last one picks the
                component of a weighted mixture.
            temperature: Factor of the scales.
        """
        chosen = label
        if components.log_weight is not None:
            below = components.log_weight.exp().cumsum(1) < uniform[:, -1:]
            chosen = below.sum(1).clamp(max=self.components - 1)
        mask = one_hot(chosen, self.components).to(uniform)
        x = torch.zeros_like(uniform[:, : self.channels])
        for channel in range(self.channels):
            mean = (components.mean_of(channel, x) * mask).sum(1)
            log_scale = (components.log_scale[:, :, channel] * mask).sum(1)
            x[:, channel] = logistic.draw(
                uniform[:, channel], mean, log_scale, self.levels, temperature
            )
        return x
