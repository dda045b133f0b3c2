"""Table 2: attacks on the classifier alone and on classifier and detector, and an examination of the evaluation itself."""

from condgen.audits.adversarial.audit import adversarial

__all__ = ["adversarial"]
