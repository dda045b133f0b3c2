"""Run attacks of another library (foolbox) on a condgen classifier, without and with a detector."""

import foolbox

from condgen import (
    DiagonalGaussian,
    GenerativeClassifier,
    LikelihoodThreshold,
    attacks,
    open_dataset,
)

splits = open_dataset("digits")
classifier = GenerativeClassifier(
    DiagonalGaussian.fitted(*splits.train.batch(slice(None)), pixel_levels=17)
).eval()
x, label = splits.test.batch(slice(0, 20))

held_out, _ = splits.validation.batch(slice(None))
detector = LikelihoodThreshold.at_quantile(classifier(held_out).bits_per_dim, quantile=0.99)
usable = (classifier(x).label == label) & (classifier(x).bits_per_dim <= detector.threshold)
x, label = x[usable], label[usable]

# Log-likelihoods as logits, one column per class.
model = foolbox.PyTorchModel(attacks.Logits(classifier).eval(), bounds=(0, 1), device="cpu")
_, perturbed, success = foolbox.attacks.DDNAttack(steps=50)(model, x, label, epsilons=None)
theirs = (perturbed - x).flatten(1).norm(dim=1)
ours = attacks.CarliniWagner()(classifier, x, attacks.Misclassify(label))
print(
    f"foolbox DDN: {success.float().mean():.0%} misclassified, median L2 {theirs.median():.3f};"
    f" condgen CarliniWagner: median L2 {ours.l2.median():.3f}"
)

# With a detector there is one more column, which is the largest if the detector flags the image.
# A targeted attack toward another class has to keep it small.
with_detector = foolbox.PyTorchModel(
    attacks.Logits(classifier, detector, weight=64.0).eval(), bounds=(0, 1), device="cpu"
)
target = foolbox.criteria.TargetedMisclassification((label + 1) % 10)
_, perturbed, success = foolbox.attacks.DDNAttack(steps=100)(
    with_detector, x, target, epsilons=None
)
accepted = classifier(perturbed).bits_per_dim <= detector.threshold
share, accepted_share = success.float().mean(), accepted[success].float().mean()
print(
    f"targeted at the next class: {share:.0%} succeed, {accepted_share:.0%} of these are accepted"
)
