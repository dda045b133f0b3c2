"""Settings of PixelCNN++."""

from typing import Annotated, Literal

import torch
from pydantic import Field

from condgen.config import Images
from condgen.config.section import Positive, PositiveFloat
from condgen.models.pixelcnn.model import PixelCNN
from condgen.models.precision import PrecisionSettings
from condgen.registry import MODELS


@MODELS.register("pixelcnn")
class PixelCNNSettings(PrecisionSettings):
    """Conditional PixelCNN++ (appendix E).

    ``components`` is the number of logistic components that all classes share; by default each
    class has one of its own. ``class_bias`` gives each class a bias in every block. ``class_scale``
    is the factor of the difference of a class's outputs from those that all share; by default one
    over the dimensions of an image.
    ``memory = "recompute"`` recomputes activations instead of storing them.
    """

    name: Literal["pixelcnn"] = "pixelcnn"
    filters: Annotated[int, Field(gt=0, le=8192)] = 160
    blocks: Annotated[int, Field(gt=0, le=1024)] = 5
    levels: Annotated[int, Field(gt=0, le=16)] = 3
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    components: Positive | None = None
    class_bias: bool = False
    class_scale: PositiveFloat | None = None
    smallest_log_scale: Annotated[float, Field(ge=-30, le=0)] = -7.0
    memory: Literal["standard", "recompute"] = "standard"

    def build(self, images: Images, seed: int) -> PixelCNN:
        channels, height, width = images.shape
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return PixelCNN(
                images.classes,
                event_shape=(channels, height, width),
                pixel_levels=images.levels,
                filters=self.filters,
                blocks=self.blocks,
                levels=self.levels,
                dropout=self.dropout,
                components=self.components,
                class_bias=self.class_bias,
                class_scale=self.class_scale,
                smallest_log_scale=self.smallest_log_scale,
                precision=torch.bfloat16 if self.precision == "bfloat16" else None,
                recompute=self.memory == "recompute",
            )

    @property
    def words(self) -> str:
        return f"{self.name} {self.levels} x {self.blocks}, {self.filters} filters"
