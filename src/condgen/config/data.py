"""Settings of the `[data]` table, and the description of the images of a run."""

from typing import Annotated

from pydantic import Field

from condgen.config.section import Positive, Section


class Data(Section):
    """A data set: its name, image size, seed of the held-out split, and training augmentation."""

    name: str
    size: Positive | None = None
    split_seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    crop_padding: Annotated[int, Field(ge=0, le=1024)] = 0
    flip: bool = False


class Images(Section):
    """Description of the images of a run: enough to build its model and to detect changed data."""

    shape: list[Positive]
    classes: Positive
    levels: Positive
    class_names: list[str] = Field(default_factory=list)  # empty in older runs
    sha256: dict[str, str] = Field(default_factory=dict)  # of each part; empty in older runs
    # number of training images of each class
    counts: list[Annotated[int, Field(ge=0)]] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)  # images left out or converted
