"""Section 2: why no guarantee can be given, as numbers and as densities.

The numbers need no torch; the densities are in :mod:`condgen.theory.annuli`.
"""

from condgen.theory.conditions import Condition, conditions
from condgen.theory.counterexample import Counterexample, counterexample, smallest_dimension
from condgen.theory.summary import summary

__all__ = [
    "Condition",
    "Counterexample",
    "conditions",
    "counterexample",
    "smallest_dimension",
    "summary",
]
