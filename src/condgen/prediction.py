"""Prediction: class log-likelihoods of images, and quantities derived by Bayes' rule."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Prediction:
    """Class log-likelihoods of images, and the quantities that follow by Bayes' rule."""

    class_log_prob: Tensor  # (N, C), nats
    log_prior: Tensor  # (C,), nats
    dims: int
    subspace_log_prob: Tensor | None = None  # log p(z_s | y), (N, C), nats; class subspace only
    x: Tensor | None = None  # images, (N, *event_shape), for detectors that need them

    @property
    def log_joint(self) -> Tensor:
        r""":math:`\log p(x, y) = \log p(x \mid y) + \log p(y)`, shape ``(N, C)``."""
        return self.class_log_prob + self.log_prior

    @property
    def log_marginal(self) -> Tensor:
        r""":math:`\log p(x) = \log \sum_y p(x, y)`, shape ``(N,)``."""
        return self.log_joint.logsumexp(-1)

    @property
    def log_posterior(self) -> Tensor:
        r""":math:`\log p(y \mid x)`, shape ``(N, C)``; the prior if :math:`p(x) = 0`."""
        log_joint = self.log_joint
        possible = log_joint.amax(-1, keepdim=True) != -math.inf
        return torch.where(possible, log_joint, self.log_prior).log_softmax(-1)

    @property
    def label(self) -> Tensor:
        """Most likely class, shape ``(N,)``; the first one of ties."""
        return self.log_joint.argmax(-1)

    @property
    def bits_per_dim(self) -> Tensor:
        r""":math:`-\log_2 p(x) / D`, shape ``(N,)``."""
        return -self.log_marginal / (self.dims * math.log(2))

    @property
    def class_bits_per_dim(self) -> Tensor:
        r""":math:`-\log_2 p(x \mid y) / D`, shape ``(N, C)``."""
        return -self.class_log_prob / (self.dims * math.log(2))

    def cpu(self) -> "Prediction":
        """Copy to CPU memory, where goals, attacks and audits run."""
        subspace, x = (
            None if part is None else part.cpu() for part in (self.subspace_log_prob, self.x)
        )
        return Prediction(self.class_log_prob.cpu(), self.log_prior.cpu(), self.dims, subspace, x)


def concatenate(parts: Sequence[Prediction]) -> Prediction:
    """The prediction of all images of at least one prediction, in order."""
    subspaces = [part.subspace_log_prob for part in parts if part.subspace_log_prob is not None]
    images = [part.x for part in parts if part.x is not None]
    return Prediction(
        torch.cat([part.class_log_prob for part in parts]),
        parts[0].log_prior,
        parts[0].dims,
        torch.cat(subspaces) if subspaces else None,
        torch.cat(images) if images else None,
    )
