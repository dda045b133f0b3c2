"""Audit your own model: here one Gaussian per class on the digits. Runs in seconds."""

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
    """One Gaussian per class with a shared scale. Only ``class_log_prob`` is required."""

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
summary = classification.summary
print(
    f"accuracy {summary['accuracy']:.1%}, {summary['bits_per_dim']:.2f} bits/dim"
    f" on {summary['n']} test images"
)

label_likelihood = audits.label_likelihood(classifier, splits.test)
print(f"AUROC of detecting wrong labels: {label_likelihood.summary['auroc']:.2f}")

interpolation = audits.interpolation(
    classifier, splits.test, detector=detector, pairs=200, quiet=True
)
summary = interpolation.summary
print(
    f"{summary['accepted_at_every_step']:.1%} of {summary['pairs']} paths between classes"
    " are accepted at every step"
)

model = AuditedModel(
    "class-gaussian", [classification, label_likelihood, interpolation], splits.test.class_names
)
page = write_report([model], tempfile.mkdtemp())
print(f"report with figures: {page}")
