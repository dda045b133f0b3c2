"""Audit a model of your own: here the smallest there is, one Gaussian per class, on the embedded digits. Runs in seconds."""

import math
import tempfile

import torch

from condgen import (
    AuditedModel,
    ClassConditionalDensity,
    GenerativeClassifier,
    LikelihoodThreshold,
    audits,
    open_dataset,
    write_report,
)


class ClassGaussian(ClassConditionalDensity):
    """One Gaussian per class with the class's own mean; the one method below is all that the library asks for."""

    num_classes, event_shape, pixel_levels = 10, (1, 8, 8), 17

    def __init__(self, x: torch.Tensor, label: torch.Tensor):
        super().__init__()
        self.register_buffer("mean", torch.stack([x[label == y].mean(0) for y in range(10)]))
        self.scale = (x - self.mean[label]).std().item()

    def class_log_prob(self, x: torch.Tensor) -> torch.Tensor:
        z = (x[:, None] - self.mean) / self.scale
        log_density = -0.5 * z.square() - math.log(self.scale * math.sqrt(2 * math.pi))
        return (log_density - math.log(self.pixel_levels - 1)).flatten(2).sum(-1)


splits = open_dataset("digits")
classifier = GenerativeClassifier(ClassGaussian(*splits.train.batch(slice(None)))).eval()

held_out, _ = splits.validation.batch(slice(None))
detector = LikelihoodThreshold.at_quantile(classifier(held_out).bits_per_dim, quantile=0.99)

classification = audits.classification(classifier, splits.test, detector=detector)
table = classification.summary
print(
    f"accuracy {table['accuracy']:.1%} at {table['bits_per_dim']:.2f} bits/dim on {table['n']} test images"
)

membership = audits.label_likelihood(classifier, splits.test)
print(f"wrong labels are noticed with an AUROC of {membership.summary['auroc']:.2f}")

interpolation = audits.interpolation(
    classifier, splits.test, detector=detector, pairs=200, quiet=True
)
ways = interpolation.summary
print(
    f"{ways['accepted_at_every_step']:.1%} of {ways['pairs']} ways between two classes pass the detector all along"
)

model = AuditedModel(
    "class-gaussian", [classification, membership, interpolation], splits.test.class_names
)
page = write_report([model], tempfile.mkdtemp())
print(f"all of it, with figures: {page}")
