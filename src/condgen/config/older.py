"""Conversion of settings from older versions to the current form."""

from collections.abc import Mapping
from typing import Any

from condgen.errors import ConfigError
from condgen.registry import AUDITS


def upgraded(page: Mapping[str, Any]) -> dict[str, Any]:
    """Convert ``page`` to current audit names, and move ``audit.KEY`` to the table of its audit.

    In older pages audits had no separate tables.

    Raises:
        ConfigError: If several audits have a setting ``KEY``.

    Examples:
        >>> upgraded({"audit": {"pairs": 300}})
        {'audit': {'interpolation': {'pairs': 300}}}
    """
    audit: dict[str, Any] | None = page.get("audit")
    if not isinstance(audit, dict):
        return dict(page)
    moved: dict[str, Any] = {}
    for former, value in audit.items():
        key = AUDITS.renamed.get(former, former)
        if key in AUDITS.names() or ":" in key or isinstance(value, dict):
            moved[key] = {**moved.get(key, {}), **value} if isinstance(value, dict) else value
        else:
            owner = audit_with(key)
            table = moved.setdefault(owner, {}) if owner else moved
            table[key] = value
    return {**page, "audit": moved}


def audit_with(key: str) -> str:
    """The audit that has a setting ``key``; empty if there is none.

    Raises:
        ConfigError: If several audits have it.
    """
    owners = [name for name in AUDITS.names() if key in AUDITS.get(name).settings.model_fields]
    if len(owners) > 1:
        each = " or ".join(f"audit.{name}.{key}" for name in owners)
        raise ConfigError(f"several audits have a setting '{key}'; write {each}.")
    return owners[0] if owners else ""
