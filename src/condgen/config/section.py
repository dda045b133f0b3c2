"""The base class of configuration tables, and the number types of settings."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1)]


class Section(BaseModel):
    """A table of a configuration page: typed, frozen, without unknown keys.

    ``shorthand`` is the key that a bare value sets: ``objective = "reweight"`` means
    ``objective = { name = "reweight" }``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    shorthand: ClassVar[str] = "name"
    moved: ClassVar[Mapping[str, str]] = {}  # former keys and their current names

    @classmethod
    def from_older(cls, table: dict[str, Any]) -> dict[str, Any]:
        """Convert a table from an older version to the current form."""
        return table

    @model_validator(mode="before")
    @classmethod
    def _from_bare_value(cls, value: Any) -> Any:
        return named(value, cls.shorthand) if cls.shorthand in cls.model_fields else value


def named(value: Any, key: str = "name") -> Any:
    """Convert a bare value to a table with one key."""
    return {key: value} if isinstance(value, (str, int, float)) else value


Named = BeforeValidator(named)  # for a union of sections that is chosen by name
