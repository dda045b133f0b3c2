"""Table 2: detector-unaware and detector-aware attacks, with checks of the evaluation."""

from condgen.audits.adversarial.audit import adversarial

__all__ = ["adversarial"]
