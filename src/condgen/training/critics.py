"""Critics of Flow-GAN: conditional discriminators and their losses."""

import copy
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from condgen.randomness import uniform

Conditioning = Literal["projection", "auxiliary"]
Loss = Literal["wasserstein", "non-saturating"]

SMALLEST = 4  # height and width at which convolutions stop halving


class Critic(nn.Module):
    r"""A convolutional network with a score of how real an image of a class looks.

    There is no batch normalization: the score of an image depends on no other image.

    Args:
        event_shape: Shape ``(channels, H, W)`` of the images.
        num_classes: C.
        conditioning: How the score depends on the class. "projection": the score is
            :math:`w^\top \phi(x) + e_y^\top \phi(x)` (Miyato & Koyama, 2018). "auxiliary": the
            score ignores the class, and the critic also classifies (Odena et al., 2017).
        width: Channels of the first layer; doubled at each halving, up to four times.

    Examples:
        >>> critic = Critic((1, 8, 8), 10, "auxiliary", width=8)
        >>> score, logits = critic(torch.rand(3, 1, 8, 8), torch.tensor([0, 1, 2]))
        >>> score.shape, logits.shape
        (torch.Size([3]), torch.Size([3, 10]))
    """

    def __init__(
        self,
        event_shape: tuple[int, ...],
        num_classes: int,
        conditioning: Conditioning = "projection",
        width: int = 32,
    ):
        super().__init__()
        channels, height, columns = event_shape
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1), nn.LeakyReLU(0.2)]
        size, now = min(height, columns), width
        while size > SMALLEST:
            wider = min(2 * now, 4 * width)
            layers += [nn.Conv2d(now, wider, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
            size, now = size // 2, wider
        layers += [nn.Conv2d(now, now, 3, padding=1), nn.LeakyReLU(0.2)]
        self.features = nn.Sequential(*layers)
        self.score = nn.Linear(now, 1)
        self.classes = nn.Linear(now, num_classes) if conditioning == "auxiliary" else None
        self.embedding = nn.Embedding(num_classes, now) if conditioning == "projection" else None

    def forward(self, x: Tensor, label: Tensor) -> tuple[Tensor, Tensor | None]:
        """Scores, shape ``(N,)``, and class logits ``(N, C)`` of an auxiliary classifier."""
        features = self.features(2 * x - 1).sum((2, 3))
        score = self.score(features).squeeze(1)
        if self.embedding is not None:
            score = score + (self.embedding(label) * features).sum(1)
        return score, self.classes(features) if self.classes is not None else None


def initialize(critic: nn.Module, seed: int) -> None:
    """Draw the weights of a critic from a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in critic.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear, nn.Embedding)):
                fresh = copy.deepcopy(module).cpu()
                fresh.reset_parameters()
                module.load_state_dict(fresh.state_dict())


def critic_loss(loss: Loss, real: Tensor, fake: Tensor) -> Tensor:
    """The critic's loss for the scores of real and drawn images, a scalar."""
    if loss == "wasserstein":
        return fake.mean() - real.mean()
    return softplus(-real).mean() + softplus(fake).mean()


def generator_loss(loss: Loss, fake: Tensor) -> Tensor:
    """The generator's loss for the scores of drawn images, a scalar."""
    return -fake.mean() if loss == "wasserstein" else softplus(-fake).mean()


def gradient_penalty(
    critic: nn.Module, real: Tensor, fake: Tensor, label: Tensor, generator: torch.Generator
) -> Tensor:
    r""":math:`(\lVert \nabla_x D(x, y) \rVert_2 - 1)^2` between real and drawn images, a scalar.

    The norm is over all dimensions of an image.

    References:
        Gulrajani et al., Improved training of Wasserstein GANs, 2017.
    """
    share = uniform((len(real), 1, 1, 1), generator).to(real)
    between = (share * real + (1 - share) * fake).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(critic(between, label)[0].sum(), between, create_graph=True)
    penalty: Tensor = (gradient.flatten(1).norm(dim=1) - 1).square().mean()
    return penalty
