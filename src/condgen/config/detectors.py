"""What a `[detector]` table holds."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field, field_validator

from condgen.config.section import Section, Share


class Quantile(Section):
    """The threshold that accepts this share of the validation images."""

    shorthand: ClassVar[str] = ""

    quantile: Share = 0.99


class DetectorSettings(Section):
    """A detector accepts scores up to ``threshold``: a number in the detector's unit, or a quantile."""

    name: str = "likelihood"
    threshold: Annotated[float, Field(allow_inf_nan=False)] | Quantile = Quantile()

    moved: ClassVar[Mapping[str, str]] = {"quantile": "threshold.quantile"}

    @classmethod
    def from_older(cls, table: dict[str, Any]) -> dict[str, Any]:
        """``quantile`` stood beside ``threshold = "quantile"``."""
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
