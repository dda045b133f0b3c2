"""Conformance checks for your densities, detectors, attacks and audits."""

from condgen.testing.attack import check_attack
from condgen.testing.audit import check_audit
from condgen.testing.density import check_density
from condgen.testing.detector import check_detector

__all__ = ["check_attack", "check_audit", "check_density", "check_detector"]
