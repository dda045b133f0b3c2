"""Any other library's attack runs on a condgen classifier: here foolbox, against the classifier and against the detector."""

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

# Log-likelihoods as logits: ten columns.
model = foolbox.PyTorchModel(attacks.Logits(classifier).eval(), bounds=(0, 1), device="cpu")
_, perturbed, success = foolbox.attacks.DDNAttack(steps=50)(model, x, label, epsilons=None)
theirs = (perturbed - x).flatten(1).norm(dim=1)
ours = attacks.CarliniWagner()(classifier, x, attacks.Misclassify(label))
print(
    f"foolbox's DDN: {success.float().mean():.0%} at L2 {theirs.median():.3f}; ours: {ours.l2.median():.3f}"
)

# Eleven columns: the last one wins where the detector flags, and a targeted attack has to avoid it.
guarded = foolbox.PyTorchModel(
    attacks.Logits(classifier, detector, weight=64.0).eval(), bounds=(0, 1), device="cpu"
)
target = foolbox.criteria.TargetedMisclassification((label + 1) % 10)
_, perturbed, success = foolbox.attacks.DDNAttack(steps=100)(guarded, x, target, epsilons=None)
accepted = classifier(perturbed).bits_per_dim <= detector.threshold
share, kept = success.float().mean(), accepted[success].float().mean()
print(f"toward the next class, past the detector: {share:.0%}, of which {kept:.0%} are accepted")
