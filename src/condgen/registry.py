"""Registries of the models, objectives, detectors and audits that a configuration can name.

A member is one file plus one line in a table below. Modules are imported when a member is first
used, so names are available without importing torch. ``package.module:attribute`` names an external
member.
"""

import importlib
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from condgen.errors import ConfigError, suggest

Member = TypeVar("Member")


class Registry(Generic[Member]):
    """Members by name.

    Args:
        kind: The kind of member, for messages.
        modules: The module of each built-in member, in the order of listing and running.
        outside: ``module:class`` with the settings of external members, if they are functions
            instead of members.
        renamed: Former names of members, which still work, and their current names.

    Examples:
        >>> AUDITS.names()[0]
        'classification'
        >>> DETECTORS.get("likelihood").unit
        'bits/dim'
    """

    def __init__(
        self,
        kind: str,
        modules: Mapping[str, str],
        outside: str = "",
        renamed: Mapping[str, str] | None = None,
    ):
        self.kind, self.outside = kind, outside
        self.renamed: dict[str, str] = dict(renamed or {})
        self._modules = dict(modules)
        self._members: dict[str, Member] = {}

    def names(self) -> list[str]:
        """All names, the built-in ones first."""
        return [*self._modules, *(name for name in self._members if name not in self._modules)]

    def register(self, name: str) -> Callable[[Any], Any]:
        """Register a class (as a decorator) or an object (as a call) under ``name``."""

        def add(member: Member) -> Member:
            self._members[name] = member
            return member

        return add

    def get(self, name: str) -> Member:
        """The member ``name``, or the attribute that ``package.module:attribute`` names.

        Raises:
            ConfigError: If there is none; suggests the closest name.
        """
        name = self.renamed.get(name, name)
        if ":" in name:
            member: Member = imported(name, self.kind)
            return member
        if name not in self._members and name in self._modules:
            importlib.import_module(self._modules[name])
        if name not in self._members:
            raise ConfigError(f"{self.kind} '{name}' is not known; {suggest(name, self.names())}")
        return self._members[name]


def imported(path: str, kind: str) -> Any:
    """The attribute that ``package.module:attribute`` names.

    Raises:
        ConfigError: If the module cannot be imported or has no such attribute.
    """
    module, _, attribute = path.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"{kind} '{path}' cannot be imported ({error});"
            " give package.module:attribute of a module on PYTHONPATH."
        ) from error


MODELS: Registry[Any] = Registry(
    "model",
    {
        "glow": "condgen.models.glow.settings",
        "pixelcnn": "condgen.models.pixelcnn.settings",
        **dict.fromkeys(
            ("uniform", "independent-pixels", "gaussian"), "condgen.models.simple.settings"
        ),
    },
    outside="condgen.models.own:OwnModel",
)
OBJECTIVES: Registry[Any] = Registry(
    "objective",
    {
        **dict.fromkeys(("likelihood", "reweight", "split"), "condgen.training.maximum_likelihood"),
        "closed-form": "condgen.training.closed_form",
        "flow-gan": "condgen.training.flow_gan",
    },
)
DETECTORS: Registry[Any] = Registry(
    "detector",
    {"likelihood": "condgen.detectors.likelihood", "typicality": "condgen.detectors.typicality"},
)
AUDITS: Registry[Any] = Registry(
    "audit",
    {
        "classification": "condgen.audits.classification",
        "label-likelihood": "condgen.audits.label_likelihood",
        "interpolation": "condgen.audits.interpolation",
        "samples": "condgen.audits.samples",
        "adversarial": "condgen.audits.adversarial",
        "snapshots": "condgen.audits.snapshots",
    },
    renamed={"membership": "label-likelihood"},
)
