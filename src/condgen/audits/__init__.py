"""Audits: evaluations of a model, its likelihood and its detector, saved as records."""

from condgen.audits.adversarial import adversarial
from condgen.audits.audit import Audit
from condgen.audits.classification import classification
from condgen.audits.interpolation import interpolation
from condgen.audits.label_likelihood import label_likelihood
from condgen.audits.records import Record
from condgen.audits.samples import samples
from condgen.audits.subject import Subject

__all__ = [
    "Audit",
    "Record",
    "Subject",
    "adversarial",
    "classification",
    "interpolation",
    "label_likelihood",
    "samples",
]
