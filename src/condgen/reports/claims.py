"""The claims of the paper, and the tests of each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from condgen.audits.adversarial.summary import WORST
from condgen.reports.audited import Audited
from condgen.reports.evidence import (
    Bounded,
    Criterion,
    Difference,
    Estimate,
    Evidence,
    Number,
    Who,
    attack_success,
    plain,
)
from condgen.reports.tables import Summary
from condgen.theory import conditions, counterexample

ACCURACY = plain("classification", "accuracy", "accuracy", percent=True)
BITS = plain("classification", "bits_per_dim", "bits/dim")
LABELS = plain("label-likelihood", "auroc", "AUROC of right against wrong labels")
MIDDLE = plain("interpolation", "middle_minus_ends", "middle - ends, bits/dim")
PATHS = plain("interpolation", "accepted_at_every_step", "paths accepted at every step", True)


def _gap(summary: Summary) -> Estimate:
    low, high = (end / summary["spread_nats"] for end in summary["gap_nats_ci"])
    return summary["gap_nats"] / summary["spread_nats"], (low, high)


GAP = Number(
    "label-likelihood", "gap of right and wrong label over the spread of likelihoods", _gap
)
MNIST, CIFAR = Who("mnist"), Who("cifar10")
MNIST_SPLIT, CIFAR_SPLIT = Who("mnist", "split"), Who("cifar10", "split")
CLASSIFIERS = (MNIST, MNIST_SPLIT, CIFAR, CIFAR_SPLIT)
NO_BLUR, BLURRED = Who("bg-mnist-0"), Who("bg-mnist-5")
PIXELS, PIXELS_ALONE = (
    Who("cifar10", "reweight", "pixelcnn"),
    Who("cifar10", "likelihood", "pixelcnn"),
)
CARLINI_WAGNER, BOUNDARY = "Carlini-Wagner", "Boundary"


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper.

    Args:
        section: Where it is.
        sentence: In the paper's words.
        tests: All must hold.
    """

    section: str
    sentence: str
    tests: tuple[Criterion, ...]


class Theorem:
    """Proposition 1 for the values of the paper's example, from closed forms."""

    words = "conditions 1 to 5 of Proposition 1 hold (ε = 0.1, δ = 0.01, Δ = 0.5)"

    def evidence(self, models: Sequence[Audited]) -> Iterator[Evidence]:
        example = counterexample(epsilon=0.1, delta=0.01, radius=0.5)
        hold = all(line.holds for line in conditions(example) if line.number <= 5)
        share = example.attackable
        found = (
            f"in {example.dimension} dimensions {100 * share:.1f} % of the samples have an"
            " undetectable confident mistake within Δ"
        )
        yield Evidence((), found, hold, share, (share, share))


CLAIMS = (
    Claim(
        "2",
        "even a near-perfect conditional generative model cannot be guaranteed to reject"
        " adversarially perturbed inputs with high probability",
        (Theorem(),),
    ),
    Claim(
        "3.1",
        "when naively training a class-conditional generative model [by maximum likelihood],"
        " typically discriminative performance as a classifier is very poor",
        (Difference((ACCURACY, CIFAR), (ACCURACY, Who("cifar10", "likelihood")), ">", 0.1),),
    ),
    Claim(
        "4.1",
        "especially on CIFAR10, pushing up the accuracy [...] results in non-negligible"
        " deterioration to the likelihood values",
        (Difference((BITS, CIFAR), (BITS, Who("cifar10", "likelihood")), ">"),),
    ),
    Claim(
        "4.1",
        "the split prior achieves better NLL [...] in both experiments",
        (
            Difference((BITS, MNIST_SPLIT), (BITS, MNIST), "<"),
            Difference((BITS, CIFAR_SPLIT), (BITS, CIFAR), "<"),
        ),
    ),
    Claim(
        "4.1",
        "the split prior achieves [...] better accuracy in both experiments",
        (
            Difference((ACCURACY, MNIST_SPLIT), (ACCURACY, MNIST), ">"),
            Difference((ACCURACY, CIFAR_SPLIT), (ACCURACY, CIFAR), ">"),
        ),
    ),
    Claim(
        "4.2",
        "even conditional generative models which are strong classifiers do not see images with the"
        " corrupted labels as outliers",
        (Bounded(LABELS, CLASSIFIERS, "<", 0.6),),
    ),
    Claim(
        "4.2",
        "the gap [...] is much smaller than the variation in likelihood values",
        (Bounded(GAP, CLASSIFIERS, "<", 0.1),),
    ),
    Claim(
        "4.3",
        "the CW-L2 attack [...] is easily detectable",
        (Bounded(attack_success(CARLINI_WAGNER, aware=False), CLASSIFIERS, "<", 0.1),),
    ),
    Claim(
        "4.3",
        "the boundary attack [...] is much harder to detect [than CW-L2]",
        tuple(
            Difference(
                (attack_success(BOUNDARY, aware=False), who),
                (attack_success(CARLINI_WAGNER, aware=False), who),
                ">",
                0.1,
            )
            for who in CLASSIFIERS
        ),
    ),
    Claim(
        "4.3",
        "even after the modification CW-L2 still struggles to fool the detector",
        (Bounded(attack_success(CARLINI_WAGNER, aware=True), CLASSIFIERS, "<", 0.5),),
    ),
    Claim(
        "4.3",
        "the boundary attack, however, succeeds completely on CIFAR10",
        (Bounded(attack_success(BOUNDARY, aware=True), (CIFAR, CIFAR_SPLIT), ">", 0.9),),
    ),
    Claim(
        "4.3",
        "and fails completely on MNIST",
        (Bounded(attack_success(BOUNDARY, aware=True), (MNIST, MNIST_SPLIT), "<", 0.1),),
    ),
    Claim(
        "abstract",
        "we are able to train robust models for MNIST",
        (Bounded(attack_success(WORST, aware=True), (MNIST, MNIST_SPLIT), "<", 0.5),),
    ),
    Claim(
        "4.4",
        "[on MNIST] the likelihood goes down as α moves away from the real images",
        (Bounded(MIDDLE, (MNIST, MNIST_SPLIT), ">", 0.0),),
    ),
    Claim(
        "4.4",
        "all intermediate images are considered real by the model [...] only in 0.5% of the cases",
        (Bounded(PATHS, (MNIST, MNIST_SPLIT), "<", 0.05),),
    ),
    Claim(
        "4.4",
        "[on CIFAR10] not only does the intermediate likelihood not drop down, it is even higher on"
        " average than on the real images",
        (Bounded(MIDDLE, (CIFAR, CIFAR_SPLIT), "<", 0.0),),
    ),
    Claim(
        "4.4",
        "[on CIFAR10] 100% of the interpolated images lay above the detection threshold",
        (Bounded(PATHS, (CIFAR, CIFAR_SPLIT), ">", 0.95),),
    ),
    Claim(
        "4.5",
        "[on BG-MNIST] when we interpolate between datapoints we observe behavior identical to our"
        " CIFAR10 models",
        (Bounded(MIDDLE, (NO_BLUR,), "<", 0.0), Bounded(PATHS, (NO_BLUR,), ">", 0.95)),
    ),
    Claim(
        "4.5",
        "classification [on BG-MNIST-0] is on par with MNIST models",
        (Difference((ACCURACY, NO_BLUR), (ACCURACY, MNIST), ">", -0.02),),
    ),
    Claim(
        "4.5",
        "with high blur [...] conditional generative models should perform as they do on MNIST",
        (Bounded(MIDDLE, (BLURRED,), ">", 0.0), Bounded(PATHS, (BLURRED,), "<", 0.05)),
    ),
    Claim(
        "4, E",
        "similar phenomenon can be seen when training with the PixelCNN++ autoregressive model",
        (Bounded(LABELS, (PIXELS,), "<", 0.6), Bounded(PATHS, (PIXELS,), ">", 0.95)),
    ),
    Claim(
        "E",
        "[for PixelCNN++] reweighting the classification score results in much better accuracy",
        (Difference((ACCURACY, PIXELS), (ACCURACY, PIXELS_ALONE), ">", 0.1),),
    ),
    Claim(
        "E",
        "[...] but worse NLL",
        (Difference((BITS, PIXELS), (BITS, PIXELS_ALONE), ">"),),
    ),
)
