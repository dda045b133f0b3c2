"""The setting `model.precision` of families whose products may be in bfloat16."""

from typing import Literal, Self

from condgen import machine
from condgen.config import ModelSettings
from condgen.errors import ConfigError


class PrecisionSettings(ModelSettings):
    """Settings of a family with a choice of precision.

    ``precision = "auto"`` selects the faster precision of the machine.
    """

    precision: Literal["auto", "float32", "bfloat16"] = "float32"

    def on(self, device: str) -> Self:
        fast = machine.multiplies_bfloat16(device) if self.precision != "float32" else False
        if self.precision == "auto":
            return self.model_copy(update={"precision": "bfloat16" if fast else "float32"})
        if self.precision == "bfloat16" and device == "cuda" and not fast:
            raise ConfigError(
                "model.precision is 'bfloat16', but the CUDA device has no tensor cores for it;"
                " start a run with `--set model.precision=float32`, or train on another device,"
                " such as --device cpu. Audits run on any device."
            )
        return self

    def as_begun(self, begun: Self) -> Self:
        auto = self.precision == "auto" and isinstance(begun, type(self))
        return self.model_copy(update={"precision": begun.precision}) if auto else self
