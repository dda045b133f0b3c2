"""Which images an experiment uses."""

from typing import Annotated

from pydantic import Field

from condgen.config.section import Positive, Section


class Data(Section):
    """A data set by name, its size, the seed of what is held out of it, and the augmentation of training images."""

    name: str
    size: Positive | None = None
    split_seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    crop_padding: Annotated[int, Field(ge=0, le=1024)] = 0
    flip: bool = False


class Images(Section):
    """What the images of a run are like: enough to build its model, and to notice other images under the same name."""

    shape: list[Positive]
    classes: Positive
    levels: Positive
    class_names: list[str] = Field(default_factory=list)  # older runs have neither names nor hashes
    sha256: dict[str, str] = Field(default_factory=dict)  # of each part
    counts: list[Annotated[int, Field(ge=0)]] = Field(
        default_factory=list
    )  # training images of each class
    notes: list[str] = Field(default_factory=list)  # what was left out or converted
