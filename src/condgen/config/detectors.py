"""Settings of a `[detector]` table."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field, field_validator

from condgen.config.section import Section, Share


class Quantile(Section):
    """A threshold that accepts this share of the validation images."""

    shorthand: ClassVar[str] = ""

    quantile: Share = 0.99


class DetectorSettings(Section):
    """Settings of a detector: it accepts scores up to ``threshold``, a number or a quantile.

    A number is in the unit of the detector.
    """

    name: str = "likelihood"
    threshold: Annotated[float, Field(allow_inf_nan=False)] | Quantile = Quantile()

    moved: ClassVar[Mapping[str, str]] = {"quantile": "threshold.quantile"}

    @classmethod
    def from_older(cls, table: dict[str, Any]) -> dict[str, Any]:
        """Older tables have ``threshold = "quantile"`` and a separate key ``quantile``."""
        share = {key: table[key] for key in ("quantile",) if key in table}
        kept = {key: value for key, value in table.items() if key != "quantile"}
        return {**kept, "threshold": share} if table.get("threshold") == "quantile" else kept

    @field_validator("threshold", mode="before")
    @classmethod
    def _number_or_quantile(cls, value: Any) -> Any:
        if value == "quantile":
            return {}
        if not isinstance(value, (int, float, dict, Quantile)):
            raise ValueError(
                "should be a number, or { quantile = 0.99 } for a share of the validation images"
            )
        return float(value) if type(value) is int else value
