"""Grids of images as PNG files."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from condgen.data.dataset import ImageDataset
from condgen.errors import ConfigError
from condgen.files import atomic_write, check_writable

DOTS_PER_INCH = 150
INCHES_PER_IMAGE = 0.45


def image_grid(images: NDArray[np.floating], row_names: list[str]) -> Figure:
    """Draw images in [0, 1], shape ``(N, C, H, W)``, in one row per name."""
    rows, columns = len(row_names), -(-len(images) // len(row_names))
    name_width = 0.1 + 0.085 * max(map(len, row_names))
    width, height = name_width + columns * INCHES_PER_IMAGE, rows * INCHES_PER_IMAGE
    figure = Figure(figsize=(width, height))
    # one Axes for all images, since each Axes costs 20 ms
    axes = figure.add_axes((name_width / width, 0, 1 - name_width / width, 1))
    for number, image in enumerate(images):
        row, column = divmod(number, columns)
        draw_image(axes, image, cell=(column, row, 0.96))
    axes.set(xlim=(0, columns), ylim=(rows, 0))
    for row, name in enumerate(row_names):
        figure.text(
            (name_width - 0.08) / width,
            1 - (row + 0.5) / rows,
            name,
            ha="right",
            va="center",
            fontsize=8,
            parse_math=False,
        )
    return figure


def draw_image(
    axes: Any, image: NDArray[np.floating], cell: tuple[float, float, float] | None = None
) -> None:
    """Draw an image without ticks, gray if it has one channel; an SVG keeps its exact pixels.

    Args:
        axes: To draw on; the y axis points down.
        image: Shape ``(C, H, W)``.
        cell: Left, top and side of the square that the image is fitted into. Default: the axes.
    """
    shown = image[0] if len(image) == 1 else np.moveaxis(image, 0, -1)
    extent = None
    if cell is not None:
        left, top, side = cell
        height, width = (side * size / max(image.shape[1:]) for size in image.shape[1:])
        left, top = left + (side - width) / 2, top + (side - height) / 2
        extent = (left, left + width, top + height, top)
    axes.imshow(shown, cmap="gray", vmin=0, vmax=1, interpolation="none", extent=extent)
    axes.set_axis_off()


def check_picture(path: Path) -> None:
    """Check, before the work, that a PNG file can be written to this path.

    Raises:
        ConfigError: If the name does not end in .png.
        CondgenError: If the path is not writable.
    """
    check_writable(path)
    if path.suffix.lower() != ".png":
        raise ConfigError(f"{path} would be a PNG file; give it a name that ends in .png.")


def save_grid(images: NDArray[np.floating], row_names: list[str], path: Path) -> None:
    """Write :func:`image_grid` to a PNG file.

    Raises:
        ConfigError: If the name does not end in .png.
        CondgenError: If the path is not writable.
    """
    check_picture(path)
    with atomic_write(path) as work:
        image_grid(images, row_names).savefig(work, format="png", dpi=DOTS_PER_INCH)


def save_labelled_grid(data: ImageDataset, count: int, path: Path) -> None:
    """Write a PNG file of the first ``count`` images of each class, one row per class.

    Classes without images are left out. Rows with fewer images end in white.
    """
    present = [y for y in range(data.num_classes) if (data.labels == y).any()]
    chosen = [np.flatnonzero(data.labels == y)[:count] for y in present]
    longest = max(map(len, chosen))
    rows = np.ones((len(present), longest, *data.event_shape), np.float32)
    for row, index in zip(rows, chosen, strict=True):
        row[: len(index)] = data.batch(index)[0].numpy()
    save_grid(rows.reshape(-1, *data.event_shape), [data.class_names[y] for y in present], path)
