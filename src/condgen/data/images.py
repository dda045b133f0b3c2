"""One encoded image to an array: bounded, and only what can be shown as grey or RGB with 256 levels."""

import io
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from condgen.errors import DataError

FORMATS = ("PNG", "JPEG", "WEBP")
MOST_PIXELS = 1 << 26  # 8192 x 8192; a few hundred bytes can claim to be far larger
CONVERTED = {"1": "L", "P": "RGB", "CMYK": "RGB", "YCbCr": "RGB"}


@dataclass(frozen=True)
class Geometry:
    """How images come to one size: padded with zeros to ``pad``, or resized and centre-cropped to ``size``."""

    size: int | None = None
    pad: int | None = None


@dataclass(frozen=True)
class Encoded:
    """An image file's content, its class, and where it came from, for messages."""

    content: bytes
    label: int
    where: str


def decode(image: Encoded, geometry: Geometry) -> tuple[NDArray[np.uint8], str]:
    """The image, shape ``(1 or 3, H, W)``, and the mode it was stored in.

    Raises:
        DataError: If it is damaged, too large, animated, 16-bit, transparent, or neither PNG, JPEG nor WebP; names it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own, for images that are refused or bounded here
            opened = _opened(image)
            upright = ImageOps.exif_transpose(opened) if "exif" in opened.info else opened
            plain = upright.convert(CONVERTED[upright.mode]) if upright.mode in CONVERTED else upright
            return _array(plain, geometry), opened.mode
    except DataError:
        raise
    except Exception as error:  # on damaged bytes a decoder may raise anything
        raise DataError(f"{image.where} is not a readable image ({error or type(error).__name__}); remove it.") from error


def _opened(image: Encoded) -> Image.Image:
    opened = Image.open(io.BytesIO(image.content), formats=FORMATS)
    width, height = opened.size
    if width * height > MOST_PIXELS:
        raise DataError(f"{image.where} claims {width}x{height} pixels, more than {MOST_PIXELS}; scale it down first.")
    frames = getattr(opened, "n_frames", 1)
    if frames > 1:
        raise DataError(f"{image.where} is animated ({frames} frames); save one frame.")
    if opened.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in opened.info:
        raise DataError(f"{image.where} has transparent pixels; flatten it onto a background.")
    if opened.mode not in ("L", "RGB", *CONVERTED):
        raise DataError(f"{image.where} has mode {opened.mode}, not 8-bit grey or RGB; convert it to 8 bits.")
    return opened


def _array(image: Image.Image, geometry: Geometry) -> NDArray[np.uint8]:
    if geometry.size is not None:
        image = _resized(image, geometry.size)
    pixels = np.asarray(image)
    planes = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)
    if geometry.pad is not None:
        rows, columns = geometry.pad - planes.shape[1], geometry.pad - planes.shape[2]
        if rows < 0 or columns < 0:
            raise ValueError(f"{planes.shape[1]}x{planes.shape[2]} pixels do not fit into {geometry.pad}x{geometry.pad}")
        padded = np.zeros((len(planes), geometry.pad, geometry.pad), np.uint8)
        padded[:, rows // 2 : rows // 2 + planes.shape[1], columns // 2 : columns // 2 + planes.shape[2]] = planes
        return padded
    return planes


def _resized(image: Image.Image, size: int) -> Image.Image:
    """Shorter side to ``size``, then the middle."""
    width, height = image.size
    scale = size / min(width, height)
    width, height = max(size, round(width * scale)), max(size, round(height * scale))
    if width * height > MOST_PIXELS:
        raise ValueError(f"resizing to {width}x{height} pixels is out of bounds")
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=3.0)
    left, top = (width - size) // 2, (height - size) // 2
    return image.crop((left, top, left + size, top + size))
