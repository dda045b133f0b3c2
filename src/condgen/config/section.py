"""A table of a TOML page, and the numbers that its settings may be."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1)]


class Section(BaseModel):
    """A table of the page: typed, frozen, and without unknown keys.

    ``shorthand`` is the key that a bare value stands for: ``objective = "reweight"`` is
    ``objective = { name = "reweight" }``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    shorthand: ClassVar[str] = "name"
    moved: ClassVar[Mapping[str, str]] = {}  # former keys, and what they are called now

    @classmethod
    def from_older(cls, table: dict[str, Any]) -> dict[str, Any]:
        """A table that an older version wrote, in today's form."""
        return table

    @model_validator(mode="before")
    @classmethod
    def _from_bare_value(cls, value: Any) -> Any:
        return named(value, cls.shorthand) if cls.shorthand in cls.model_fields else value


def named(value: Any, key: str = "name") -> Any:
    """A bare value as a table with one key."""
    return {key: value} if isinstance(value, (str, int, float)) else value


Named = BeforeValidator(named)  # for a union of sections that is chosen by name
