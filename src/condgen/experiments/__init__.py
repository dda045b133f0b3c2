"""From a configuration to a trained, audited run: where models, data, training and audits meet."""

from condgen.experiments.auditing import audit
from condgen.experiments.models import check, describe, sample
from condgen.experiments.settings import check_device, resolved
from condgen.experiments.training import reopen, train

__all__ = ["audit", "check", "check_device", "describe", "reopen", "resolved", "sample", "train"]
