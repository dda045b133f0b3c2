"""Settings of Glow."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import Field

from condgen import machine
from condgen.config import Images, ModelSettings, Section
from condgen.config.section import Named, Positive, PositiveFloat
from condgen.errors import ConfigError
from condgen.models.glow.model import Glow
from condgen.models.glow.priors import ClassMixture, Prior, SplitPrior
from condgen.randomness import stream
from condgen.registry import MODELS


class ClassMixtureSettings(Section):
    """One component per class: Base and Reweight.

    ``class_dims``: number of dimensions of z, deepest level first, that depend on the class.
    Default: all (the paper).
    """

    name: Literal["class-mixture"] = "class-mixture"
    class_dims: Positive | None = None


class SplitPriorSettings(Section):
    """A separate subspace of z for the class (A.4)."""

    name: Literal["split"] = "split"
    scale: PositiveFloat = 0.3


@MODELS.register("glow")
class GlowSettings(ModelSettings):
    """Class-conditional Glow (appendix B).

    ``memory = "constant"`` recomputes activations instead of storing them. ``precision = "auto"``
    selects the faster precision of the machine.
    """

    moved: ClassVar[Mapping[str, str]] = {"subspace_scale": "prior.scale"}

    name: Literal["glow"] = "glow"
    levels: Annotated[int, Field(gt=0, le=16)] = 4
    blocks: Annotated[int, Field(gt=0, le=1024)] = 12
    width: Annotated[int, Field(gt=0, le=8192)] = 128
    precision: Literal["auto", "float32", "bfloat16"] = "float32"
    memory: Literal["standard", "constant"] = "standard"
    prior: Annotated[
        ClassMixtureSettings | SplitPriorSettings, Named, Field(discriminator="name")
    ] = ClassMixtureSettings()
    family: Literal["gaussian", "laplace", "cauchy", "gaussian-laplace", "gaussian-cauchy"] = (
        "gaussian"
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @classmethod
    def from_older(cls, table: dict[str, Any]) -> dict[str, Any]:
        """Convert the former format: ``prior`` as a name, with ``subspace_scale`` beside it."""
        kept = {key: value for key, value in table.items() if key != "subspace_scale"}
        if table.get("prior") == "split" and "subspace_scale" in table:
            kept["prior"] = {"name": "split", "scale": table["subspace_scale"]}
        return kept

    def build(self, images: Images, seed: int) -> Glow:
        channels, height, width = images.shape
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return Glow(
                self._prior(images.classes, 2 * channels * height * width),
                event_shape=(channels, height, width),
                pixel_levels=images.levels,
                levels=self.levels,
                blocks=self.blocks,
                width=self.width,
                constant_memory=self.memory == "constant",
                precision=torch.bfloat16 if self.precision == "bfloat16" else None,
                generator=stream(seed, "rotations"),
            )

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
        auto = self.precision == "auto" and isinstance(begun, GlowSettings)
        return self.model_copy(update={"precision": begun.precision}) if auto else self

    @property
    def words(self) -> str:
        return f"{self.name} {self.levels} x {self.blocks}, width {self.width}"

    def _prior(self, num_classes: int, dims: int) -> Prior:
        if isinstance(self.prior, SplitPriorSettings):
            return SplitPrior(
                num_classes, dims, self.prior.scale, self.family, self.label_smoothing
            )
        return ClassMixture(
            num_classes, dims, self.family, self.label_smoothing, self.prior.class_dims
        )
