"""Section 2 as numbers and as densities: why no guarantee is possible.

The numbers do not need torch; the densities are in :mod:`condgen.theory.annuli`.
"""

from condgen.theory.conditions import Condition, conditions
from condgen.theory.construction import counterexample, smallest_dimension
from condgen.theory.counterexample import Counterexample
from condgen.theory.summary import summary

__all__ = [
    "Condition",
    "Counterexample",
    "conditions",
    "counterexample",
    "smallest_dimension",
    "summary",
]
