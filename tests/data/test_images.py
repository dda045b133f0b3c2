"""Decoding of one image: rotation, conversion, refusal, and the notes about them."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from condgen.data import cache, images
from condgen.data.images import Encoded, Geometry, decode, open_image
from condgen.data.reading import in_chunks
from condgen.errors import DataError
from tests.data.files import encoded, pictures

HALF = np.zeros((16, 16), np.uint8)
HALF[:8] = 255
UPSIDE_DOWN = HALF[::-1].copy()
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" {}</rdf:RDF></x:xmpmeta>'
)
ATTRIBUTE = XMP.format('tiff:Orientation="3"/>')
ELEMENT = XMP.format("><tiff:Orientation>3</tiff:Orientation></rdf:Description>")
TURNED = "were rotated or mirrored by their orientation tag"


def read(content: bytes, geometry: Geometry | None = None) -> tuple[np.ndarray, tuple[str, ...]]:
    return decode(Encoded(content, 0, "here"), geometry or Geometry())


def png_with_text(key: str, text: str, *, behind: bool = False) -> bytes:
    """A PNG with a text chunk before or after the pixels."""
    about = PngImagePlugin.PngInfo()
    about.add_itxt(key, text)
    content = encoded(UPSIDE_DOWN, pnginfo=about)
    if not behind:
        return content
    start = content.index(b"iTXt") - 4
    end = start + 12 + int.from_bytes(content[start : start + 4], "big")
    last = content.index(b"IEND") - 4
    return content[:start] + content[end:last] + content[start:end] + content[last:]


def exif_of(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def raw_profile() -> str:
    data = exif_of(3).tobytes()
    return f"\nexif\n{len(data):8}\n{data.hex()}\n"


SIDEWAYS = {
    "JPEG, XMP attribute": encoded(UPSIDE_DOWN, "JPEG", xmp=ATTRIBUTE.encode()),
    "JPEG, XMP element": encoded(UPSIDE_DOWN, "JPEG", xmp=ELEMENT.encode()),
    "WebP, XMP": encoded(UPSIDE_DOWN, "WEBP", xmp=ATTRIBUTE.encode(), lossless=True),
    "PNG, XMP": png_with_text("XML:com.adobe.xmp", ATTRIBUTE),
    "PNG, XMP behind the pixels": png_with_text("XML:com.adobe.xmp", ATTRIBUTE, behind=True),
    "PNG, raw profile": png_with_text("Raw profile type exif", raw_profile()),
    "JPEG, EXIF": encoded(UPSIDE_DOWN, "JPEG", exif=exif_of(3)),
}


@pytest.mark.parametrize("name", SIDEWAYS)
def test_an_orientation_anywhere_turns_the_image(name: str) -> None:
    pixels, changes = read(SIDEWAYS[name])
    assert pixels[0, :4].mean() > 250
    assert pixels[0, -4:].mean() < 5
    assert TURNED in changes


def test_upright_images_are_not_said_to_be_turned() -> None:
    assert read(encoded(HALF, "PNG", exif=exif_of(1)))[1] == ()


def sixteen_bit_png(color: int, channels: int) -> bytes:
    def chunk(tag: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data))

    rows = b"".join(b"\0" + np.full(4 * channels, 4095, ">u2").tobytes() for _ in range(4))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 16, color, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("color", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_sixteen_bits_are_refused_in_every_color_type(color: int, channels: int) -> None:
    with pytest.raises(
        DataError, match=r"here has (16 bits per channel|mode I).*convert it to 8 bits"
    ):
        read(sixteen_bit_png(color, channels))


def with_alpha(mode: str, alpha: int) -> bytes:
    image = Image.fromarray(pictures(1, (6, 6, 3))[0]).convert(mode.rstrip("A"))
    image.putalpha(alpha)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(("mode", "channels"), [("RGBA", 3), ("LA", 1)])
def test_an_opaque_alpha_channel_is_dropped_and_said(mode: str, channels: int) -> None:
    pixels, changes = read(with_alpha(mode, 255))
    assert np.array_equal(pixels, read(encoded(np.moveaxis(pixels, 0, -1).squeeze()))[0])
    assert pixels.shape == (channels, 6, 6)
    assert changes == ("had an opaque alpha channel, which was dropped",)
    with pytest.raises(DataError, match="here has transparent pixels"):
        read(with_alpha(mode, 254))


@pytest.mark.parametrize("used", [False, True])
def test_a_transparent_color_matters_where_it_occurs(used: bool) -> None:
    content = encoded(np.full((4, 4), 7, np.uint8), transparency=7 if used else 8)
    if used:
        with pytest.raises(DataError, match="here has transparent pixels"):
            read(content)
    else:
        pixels, _ = read(content)
        assert pixels.tolist() == [[[7] * 4] * 4]


def several_pictures() -> bytes:
    buffer = io.BytesIO()
    first, other = (Image.fromarray(picture) for picture in (HALF, UPSIDE_DOWN))
    first.save(buffer, "MPO", save_all=True, append_images=[other])
    return buffer.getvalue()


def test_the_first_picture_of_a_camera_s_file_is_taken() -> None:
    pixels, changes = read(several_pictures())
    assert pixels[0, :4].mean() > 250
    assert changes == ("are files of several pictures (MPO): the first was used",)


def test_a_bitmap_is_read() -> None:
    assert np.array_equal(read(encoded(HALF, "BMP"))[0][0], HALF)


def test_what_is_resized_is_said() -> None:
    assert read(encoded(HALF), Geometry(size=8))[1] == ("were resized and cropped to 8x8",)
    assert read(encoded(HALF), Geometry(size=16))[1] == ()


class Table:
    """A table of ``number`` images of 10x10 pixels."""

    class_names, notes = ("a", "b"), ()

    def __init__(self, number: int):
        self.number = number

    def __len__(self) -> int:
        return self.number

    def fingerprint(self) -> str:
        return str(self.number)

    def chunks(self):
        return in_chunks(
            Encoded(encoded(picture), 0, "here") for picture in pictures(self.number, (10, 10))
        )


def test_large_images_are_decoded_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MOST_PIXELS", 350)
    assert [len(group) for group in cache._groups(Table(10))] == [3, 3, 3, 1]
    monkeypatch.setattr(cache, "MOST_PIXELS", images.MOST_PIXELS)
    assert [len(group) for group in cache._groups(Table(130))] == [64, 64, 2]


def test_the_header_says_how_many_pixels_there_are() -> None:
    assert open_image(Encoded(encoded(HALF), 0, "here")).pixels == 256
