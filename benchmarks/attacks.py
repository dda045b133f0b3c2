"""Benchmark the attacks against foolbox and ART; write ``benchmarks/results/attacks.json``.

All attacks use the same images and the same small CNN on MNIST, one thread, process time and
alternating rounds. A class-conditional Gaussian shows that the attacks also work on
log-likelihoods, which are far from zero.
"""

import json
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import art.attacks.evasion
import art.estimators.classification
import foolbox
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.evidence import RESULTS, about, keep
from condgen import (
    ClassConditionalDensity,
    DiagonalGaussian,
    GenerativeClassifier,
    ImageDataset,
    machine,
    open_dataset,
)
from condgen.attacks import (
    Attack,
    Boundary,
    CarliniWagner,
    DecoupledDirectionNorm,
    HopSkipJump,
    Logits,
    Misclassify,
)

MANY, FEW, QUERIES, ROUNDS = 64, 8, 2250, 3


class Cnn(ClassConditionalDensity):
    """A discriminative network with the density interface. Its columns are logits."""

    num_classes, event_shape, pixel_levels = 10, (1, 28, 28), 256

    def __init__(self) -> None:
        super().__init__()
        first, second = (
            nn.Conv2d(1, 16, 5, stride=2, padding=2),
            nn.Conv2d(16, 32, 5, stride=2, padding=2),
        )
        head = [nn.Flatten(), nn.Linear(32 * 49, 64), nn.ReLU(), nn.Linear(64, 10)]
        self.network = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), *head)

    def class_log_prob(self, x: Tensor) -> Tensor:
        columns: Tensor = self.network(x)
        return columns


Images = tuple[Tensor, Tensor]  # continuous, and quantized to 8 bits


@dataclass(frozen=True)
class Outcome:
    """Results of one attack; the distance is infinite if the class is unchanged.

    ``l2_stored`` is of the quantized image: the attack's own, or the rounded one.
    """

    seconds: float
    l2: Tensor
    l2_stored: Tensor

    @property
    def figures(self) -> dict[str, float | None]:
        misclassified, stored = self.l2.isfinite(), self.l2_stored.isfinite()
        share = (misclassified & stored).double().sum() / misclassified.double().sum().clamp_min(1)
        return {
            "seconds": round(self.seconds, 3),
            "median_l2": _finite(self.l2.median().item()),
            "median_l2_stored": _finite(self.l2_stored.median().item()),
            "success": round(misclassified.double().mean().item(), 4),
            "success_after_rounding": round(share.item(), 4),
        }


def pooled(rounds: Sequence[Outcome]) -> Outcome:
    """Pool the images of all rounds (ART starts unseeded) and take the median of the seconds."""
    return Outcome(
        statistics.median(one.seconds for one in rounds),
        torch.cat([one.l2 for one in rounds]),
        torch.cat([one.l2_stored for one in rounds]),
    )


def main() -> None:
    warnings.filterwarnings("ignore")
    machine.prepare(1)
    torch.manual_seed(0)
    splits = open_dataset("mnist")
    cnn, gaussian = train_cnn(splits.train), fit_gaussian(splits.train)
    x, label = unpadded(splits.test, slice(0, 200))
    results = {
        "cnn": compare(cnn, *usable(cnn, x, label)),
        "gaussian": on_log_likelihoods(gaussian, *usable(gaussian, x, label)),
    }
    libraries = {"foolbox": foolbox.__version__, "adversarial-robustness-toolbox": art.__version__}
    settings = {
        "threads": 1,
        "images": {"gradient-based": MANY, "decision-based": FEW},
        "queries": QUERIES,
        "rounds": ROUNDS,
    }
    record = {
        **about(),
        "libraries": libraries,
        **settings,
        **headline(results),
        "attacks": results,
    }
    keep(RESULTS / "attacks.json", record)
    print(json.dumps(record, indent=1))


def unpadded(data: ImageDataset, index: slice | np.ndarray) -> tuple[Tensor, Tensor]:
    """MNIST images without padding, 28x28."""
    x, label = data.batch(index)
    return x[..., 2:-2, 2:-2].contiguous(), label


def train_cnn(data: ImageDataset, epochs: int = 2) -> GenerativeClassifier:
    classifier = GenerativeClassifier(Cnn())
    optimizer = torch.optim.Adam(classifier.parameters(), lr=1e-3)
    random = np.random.default_rng(0)
    for _ in range(epochs):
        for index in np.array_split(random.permutation(len(data)), len(data) // 128):
            x, label = unpadded(data, index)
            loss = cross_entropy(classifier.density.class_log_prob(x), label)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return classifier.eval()


def fit_gaussian(data: ImageDataset) -> GenerativeClassifier:
    x, label = unpadded(data, slice(0, 10_000))
    return GenerativeClassifier(DiagonalGaussian.fitted(x, label)).eval()


def usable(classifier: GenerativeClassifier, x: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first correctly classified images."""
    right = torch.nonzero(classifier(x).label == label).flatten()[:MANY]
    return x[right], label[right]


def compare(
    classifier: GenerativeClassifier, x: Tensor, label: Tensor
) -> dict[str, dict[str, float | None]]:
    """Run all attacks in alternating rounds."""
    few = x[:FEW], label[:FEW]
    contenders: dict[str, tuple[tuple[Tensor, Tensor], Callable[[Tensor, Tensor], Images]]] = {
        "condgen CarliniWagner": ((x, label), ours(classifier, CarliniWagner())),
        "foolbox CW-L2 9x200": (
            (x, label),
            from_foolbox(classifier, foolbox.attacks.L2CarliniWagnerAttack(9, 200)),
        ),
        "foolbox CW-L2 9x200, step 0.05": (
            (x, label),
            from_foolbox(classifier, foolbox.attacks.L2CarliniWagnerAttack(9, 200, stepsize=0.05)),
        ),
        "condgen DecoupledDirectionNorm 200": (
            (x, label),
            ours(classifier, DecoupledDirectionNorm(200)),
        ),
        "foolbox DDN 200": (
            (x, label),
            from_foolbox(classifier, foolbox.attacks.DDNAttack(steps=200)),
        ),
        "condgen Boundary": (few, ours(classifier, Boundary(queries=QUERIES))),
        "foolbox boundary": (
            few,
            from_foolbox(classifier, foolbox.attacks.BoundaryAttack(steps=QUERIES - 50)),
        ),
        "ART boundary": (few, from_art(classifier)),
        "condgen HopSkipJump": (few, ours(classifier, HopSkipJump(queries=QUERIES))),
    }
    rounds = [
        {name: timed(classifier, *data, attack) for name, (data, attack) in contenders.items()}
        for _ in range(ROUNDS)
    ]
    return {name: pooled([one[name] for one in rounds]).figures for name in contenders}


def on_log_likelihoods(
    classifier: GenerativeClassifier, x: Tensor, label: Tensor
) -> dict[str, dict[str, float | None]]:
    """Run our attacks on log-likelihoods, which are thousands of nats below zero."""
    attacks = (
        CarliniWagner(),
        DecoupledDirectionNorm(200),
        Boundary(queries=QUERIES),
        HopSkipJump(queries=QUERIES),
    )
    few = x[:FEW], label[:FEW]
    return {
        f"condgen {type(attack).__name__}": timed(
            classifier, *few, ours(classifier, attack)
        ).figures
        for attack in attacks
    }


def and_rounded(perturbed: Tensor) -> Images:
    """Clip the images of another library; add a copy that is rounded to 8 bits."""
    perturbed = perturbed.clamp(0, 1)
    return perturbed, (perturbed * 255).round() / 255


def _finite(value: float) -> float | None:
    """Round; None for infinity, which JSON does not have."""
    return round(value, 4) if value < float("inf") else None


def ours(classifier: GenerativeClassifier, attack: Attack) -> Callable[[Tensor, Tensor], Images]:
    def run(x: Tensor, label: Tensor) -> Images:
        result = attack(classifier, x, Misclassify(label))
        return result.perturbed, result.quantized

    return run


def from_foolbox(
    classifier: GenerativeClassifier, attack: foolbox.attacks.Attack
) -> Callable[[Tensor, Tensor], Images]:
    model = foolbox.PyTorchModel(Logits(classifier).eval(), bounds=(0, 1), device="cpu")
    return lambda x, label: and_rounded(attack(model, x, label, epsilons=None)[1])


def from_art(classifier: GenerativeClassifier) -> Callable[[Tensor, Tensor], Images]:
    """75 rounds were 2236 queries per image on 26 MNIST images; the other attacks use 2250."""
    model = art.estimators.classification.PyTorchClassifier(
        InFloat32(classifier), nn.CrossEntropyLoss(), (1, 28, 28), 10
    )
    attack = art.attacks.evasion.BoundaryAttack(
        model, targeted=False, max_iter=75, sample_size=20, num_trial=25, verbose=False
    )
    return lambda x, _: and_rounded(torch.from_numpy(attack.generate(x.numpy())))


class InFloat32(nn.Module):
    """Cast to float32: the noise of ART is float64."""

    def __init__(self, classifier: GenerativeClassifier) -> None:
        super().__init__()
        self.logits = Logits(classifier)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(x.float().clamp(0, 1))


def timed(
    classifier: GenerativeClassifier,
    x: Tensor,
    label: Tensor,
    attack: Callable[[Tensor, Tensor], Images],
) -> Outcome:
    torch.manual_seed(0)
    np.random.seed(0)
    before = time.process_time()
    perturbed, rounded = attack(x, label)
    seconds = time.process_time() - before
    with torch.no_grad():
        misclassified = classifier(perturbed).label != label
        stored = classifier(rounded).label != label
    distance, far = ((images - x).flatten(1).norm(dim=1) for images in (perturbed, rounded))
    return Outcome(
        seconds,
        distance.masked_fill(~misclassified, torch.inf),
        far.masked_fill(~stored, torch.inf),
    )


def headline(results: dict[str, dict[str, dict[str, float | None]]]) -> dict[str, float]:
    """Main ratios. Foolbox's Carlini-Wagner has step 0.05.

    With foolbox's default step size, black pixels do not change in 200 steps.
    """
    cnn = results["cnn"]
    seconds = {name: figures["seconds"] for name, figures in cnn.items()}
    own = [
        figures["success_after_rounding"]
        for name, figures in cnn.items()
        if name.startswith("condgen")
    ]
    return {
        "cw_time_ratio_foolbox": round(
            seconds["condgen CarliniWagner"] / seconds["foolbox CW-L2 9x200, step 0.05"], 3
        ),
        "cw_median_l2": cnn["condgen CarliniWagner"]["median_l2"],
        "cw_median_l2_foolbox": cnn["foolbox CW-L2 9x200, step 0.05"]["median_l2"],
        "boundary_median_l2": cnn["condgen Boundary"]["median_l2"],
        "boundary_median_l2_art": cnn["ART boundary"]["median_l2"],
        "boundary_median_l2_foolbox": cnn["foolbox boundary"]["median_l2"],
        "boundary_time_ratio_foolbox": round(
            seconds["condgen Boundary"] / seconds["foolbox boundary"], 3
        ),
        "success_after_rounding": min(own),
    }


if __name__ == "__main__":
    main()
