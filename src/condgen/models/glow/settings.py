"""Settings of Glow."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field

from condgen.config import Images, Section
from condgen.config.section import Named, Positive, PositiveFloat
from condgen.models.glow.model import Glow
from condgen.models.glow.priors import ClassMixture, Prior, SplitPrior
from condgen.models.precision import PrecisionSettings
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
class GlowSettings(PrecisionSettings):
    """Class-conditional Glow (appendix B).

    ``memory = "constant"`` recomputes activations instead of storing them.
    """

    moved: ClassVar[Mapping[str, str]] = {"subspace_scale": "prior.scale"}

    name: Literal["glow"] = "glow"
    levels: Annotated[int, Field(gt=0, le=16)] = 4
    blocks: Annotated[int, Field(gt=0, le=1024)] = 12
    width: Annotated[int, Field(gt=0, le=8192)] = 128
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
