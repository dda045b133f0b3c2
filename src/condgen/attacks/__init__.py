"""Attacks on a classifier with a detector, and the goals of attacks."""

from condgen.attacks.attack import Attack
from condgen.attacks.boundary import Boundary
from condgen.attacks.brendel_bethge import BrendelBethge
from condgen.attacks.carlini_wagner import CarliniWagner
from condgen.attacks.decoupled_direction_norm import DecoupledDirectionNorm
from condgen.attacks.goals import Evade, Goal, Misclassify, Target
from condgen.attacks.hop_skip_jump import HopSkipJump
from condgen.attacks.logits import Logits
from condgen.attacks.quantized import Quantized
from condgen.attacks.result import AttackResult
from condgen.attacks.search import Search
from condgen.attacks.starting_points import StartingPoints
from condgen.attacks.targeted import Targeted

__all__ = [
    "Attack",
    "AttackResult",
    "Boundary",
    "BrendelBethge",
    "CarliniWagner",
    "DecoupledDirectionNorm",
    "Evade",
    "Goal",
    "HopSkipJump",
    "Logits",
    "Misclassify",
    "Quantized",
    "Search",
    "StartingPoints",
    "Target",
    "Targeted",
]
