"""Comparison with foolbox: its attacks run on our classifiers; our distances are no larger."""

import foolbox
import pytest
import torch

from condgen import DiagonalGaussian, GenerativeClassifier, LikelihoodThreshold, open_dataset
from condgen.attacks import Boundary, CarliniWagner, DecoupledDirectionNorm, Logits, Misclassify


@pytest.fixture(scope="module")
def scene() -> tuple[GenerativeClassifier, torch.Tensor, torch.Tensor]:
    """A Gaussian classifier of digits and images that it classifies correctly."""
    splits = open_dataset("digits")
    classifier = GenerativeClassifier(
        DiagonalGaussian.fitted(*splits.train.batch(slice(None)), pixel_levels=17)
    ).eval()
    x, label = splits.test.batch(slice(0, 16))
    right = classifier(x).label == label
    return classifier, x[right], label[right]


def model(logits: Logits) -> foolbox.PyTorchModel:
    return foolbox.PyTorchModel(logits.eval(), bounds=(0, 1), device="cpu")


def test_foolbox_agrees_on_what_is_adversarial_and_is_not_nearer(scene) -> None:
    classifier, x, label = scene
    attack = foolbox.attacks.DDNAttack(steps=100)
    _, perturbed, success = attack(model(Logits(classifier)), x, label, epsilons=None)
    assert torch.equal(success, classifier(perturbed).label != label)
    theirs = (perturbed - x).flatten(1).norm(dim=1)
    for ours in (DecoupledDirectionNorm(100), CarliniWagner()):
        result = ours(classifier, x, Misclassify(label))
        assert result.reached.all()
        assert result.l2.median() <= theirs.median() * 1.03  # margin for quantization


def test_the_boundary_attack_is_nearer_for_the_same_queries(scene) -> None:
    classifier, x, label = scene
    torch.manual_seed(0)
    _, perturbed, _ = foolbox.attacks.BoundaryAttack(steps=450)(
        model(Logits(classifier)), x, label, epsilons=None
    )
    result = Boundary(queries=450)(classifier, x, Misclassify(label))
    assert result.l2.median() < (perturbed - x).flatten(1).norm(dim=1).median()


def test_the_last_column_is_the_detector(scene) -> None:
    classifier, x, _ = scene
    detector = LikelihoodThreshold(classifier(x).bits_per_dim.median().item())
    columns = Logits(classifier, detector, weight=64.0)(x)
    assert columns.shape == (len(x), 11)
    flagged = classifier(x).bits_per_dim > detector.threshold
    assert torch.equal(columns.argmax(1) == 10, flagged)
    assert torch.equal(columns[:, :10], Logits(classifier)(x))


def test_a_targeted_attack_of_foolbox_gets_past_the_detector(scene) -> None:
    classifier, x, label = scene
    detector = LikelihoodThreshold(classifier(x).bits_per_dim.max().item() + 0.1)
    target = (label + 1) % 10
    criterion = foolbox.criteria.TargetedMisclassification(target)
    _, perturbed, success = foolbox.attacks.DDNAttack(steps=100)(
        model(Logits(classifier, detector, weight=64.0)), x, criterion, epsilons=None
    )
    prediction = classifier(perturbed)
    assert success.all()
    assert torch.equal(prediction.label, target)
    assert (prediction.bits_per_dim <= detector.threshold).all()
