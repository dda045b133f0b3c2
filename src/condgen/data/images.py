"""Decoding of one image file to upright gray or RGB with 256 levels, with size limits."""

import io
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from condgen.errors import DataError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
FORMAT_NAMES = "PNG, JPEG, WebP or BMP"
MOST_PIXELS = 1 << 26  # 8192 x 8192; a header of a few hundred bytes can declare far more
CONVERTED = {"1": "L", "P": "RGB", "CMYK": "RGB", "YCbCr": "RGB"}
WITHOUT_ALPHA = {"LA": "L", "La": "L", "RGBA": "RGB", "RGBa": "RGB", "PA": "RGB"}
ORIENTATION = 0x0112  # the EXIF tag; Pillow also finds it in XMP and in PNG text
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Geometry:
    """Target size: zero-padding to ``pad``, or resize and center crop to ``size``."""

    size: int | None = None
    pad: int | None = None


@dataclass(frozen=True)
class Encoded:
    """Content of an image file, its class, and its origin for messages."""

    content: bytes
    label: int
    where: str


@dataclass(frozen=True)
class Opened:
    """An image whose header has been read and checked; its pixels are not decoded yet."""

    image: Image.Image
    label: int
    where: str

    @property
    def pixels(self) -> int:
        """Height times width, from the header."""
        return self.image.width * self.image.height


Changes = tuple[str, ...]


def decode(image: Encoded, geometry: Geometry) -> tuple[NDArray[np.uint8], Changes]:
    """Decode an image to ``(1 or 3, H, W)``; each change is listed as the end of "n images ...".

    Raises:
        DataError: If the image is damaged, too large, animated, 16-bit, transparent, or of another
            format. The message names the image.
    """
    return decode_opened(open_image(image), geometry)


def open_image(image: Encoded) -> Opened:
    """Read the header of an image.

    Raises:
        DataError: As for :func:`decode`, if the header shows it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's warnings on images that are checked here
            opened = Image.open(io.BytesIO(image.content), formats=FORMATS)
            _check_header(opened, image.where)
            return Opened(opened, image.label, image.where)
    except DataError:
        raise
    except Exception as error:  # on damaged bytes a decoder may raise anything
        raise _unreadable(image.where, error) from error


def decode_opened(opened: Opened, geometry: Geometry) -> tuple[NDArray[np.uint8], Changes]:
    """Decode the pixels of an image: the second half of :func:`decode`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            plain, changes = _plain(opened)
            upright, turned = _upright(opened.image, plain)
            pixels, sized = _array(upright, geometry)
            return pixels, (*changes, *turned, *sized)
    except DataError:
        raise
    except Exception as error:  # on damaged bytes a decoder may raise anything
        raise _unreadable(opened.where, error) from error


def _unreadable(where: str, error: Exception) -> DataError:
    return DataError(
        f"{where} is not a readable image ({error or type(error).__name__}); remove it."
    )


def _check_header(opened: Image.Image, where: str) -> None:
    width, height = opened.size
    if width * height > MOST_PIXELS:
        raise DataError(
            f"{where} has {width}x{height} pixels, more than {MOST_PIXELS}; scale it down first."
        )
    frames = getattr(opened, "n_frames", 1)
    if frames > 1 and opened.format != "MPO":
        raise DataError(f"{where} is animated ({frames} frames); save one frame.")
    if opened.mode not in ("L", "RGB", *CONVERTED, *WITHOUT_ALPHA):
        raise DataError(
            f"{where} has mode {opened.mode}, not 8-bit gray or RGB; convert it to 8 bits."
        )
    if opened.format == "PNG" and any(";16" in str(tile) for tile in getattr(opened, "tile", ())):
        raise DataError(
            f"{where} has 16 bits per channel, not 8-bit gray or RGB; convert it to 8 bits."
        )


def _plain(opened: Opened) -> tuple[Image.Image, Changes]:
    """Convert to mode L or RGB."""
    image, mode = opened.image, opened.image.mode
    changes = (
        ["are files of several pictures (MPO): the first was used"] if image.format == "MPO" else []
    )
    image.load()  # text and EXIF may follow the pixels
    if mode in WITHOUT_ALPHA or "transparency" in image.info:
        colored = image.convert("RGBA")
        if colored.getchannel("A").getextrema() != (255, 255):
            raise DataError(f"{opened.where} has transparent pixels; flatten it onto a background.")
        changes.append("had an opaque alpha channel, which was dropped")
        plain = WITHOUT_ALPHA.get(mode) or CONVERTED.get(mode, mode)
        return colored.convert("RGB").convert(plain), tuple(changes)
    if mode in CONVERTED:
        return image.convert(CONVERTED[mode]), (*changes, f"of mode {mode} were converted")
    return image, tuple(changes)


def _upright(original: Image.Image, plain: Image.Image) -> tuple[Image.Image, Changes]:
    """Rotate or mirror by the orientation that Pillow finds in EXIF, XMP or PNG text."""
    turn = UPRIGHT.get(original.getexif().get(ORIENTATION, 1))
    return (
        (plain, ())
        if turn is None
        else (plain.transpose(turn), ("were rotated or mirrored by their orientation tag",))
    )


def _array(image: Image.Image, geometry: Geometry) -> tuple[NDArray[np.uint8], Changes]:
    changes: Changes = ()
    if geometry.size is not None and image.size != (geometry.size, geometry.size):
        image = _resized(image, geometry.size)
        changes = (f"were resized and cropped to {geometry.size}x{geometry.size}",)
    pixels = np.asarray(image)
    planes = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)
    return (planes if geometry.pad is None else _padded(planes, geometry.pad)), changes


def _padded(planes: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    rows, columns = side - planes.shape[1], side - planes.shape[2]
    if rows < 0 or columns < 0:
        raise ValueError(
            f"{planes.shape[1]}x{planes.shape[2]} pixels do not fit into {side}x{side}"
        )
    padded = np.zeros((len(planes), side, side), np.uint8)
    padded[
        :, rows // 2 : rows // 2 + planes.shape[1], columns // 2 : columns // 2 + planes.shape[2]
    ] = planes
    return padded


def _resized(image: Image.Image, size: int) -> Image.Image:
    """Resize the shorter side to ``size``, then center-crop."""
    width, height = image.size
    scale = size / min(width, height)
    width, height = max(size, round(width * scale)), max(size, round(height * scale))
    if width * height > MOST_PIXELS:
        raise ValueError(f"resizing to {width}x{height} pixels is out of bounds")
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=3.0)
    left, top = (width - size) // 2, (height - size) // 2
    return image.crop((left, top, left + size, top + size))
