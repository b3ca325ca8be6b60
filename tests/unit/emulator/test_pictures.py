from __future__ import annotations

import io
import struct
import zlib

import pytest
from PIL import ExifTags, Image

from airflow_provider_perfectlyclear.emulator.service.pictures import target_size

# Photographs in the scikit-image wheel.
NAMES = ["chelsea.png", "rocket.jpg", "retina.jpg", "no_time_for_that_tiny.gif", "coins.png"]


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def with_exif(**tags: str | int) -> bytes:
    exif = Image.Exif()
    for name, value in tags.items():
        exif[getattr(ExifTags.Base, name)] = value
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((120, 80)).convert("RGB").save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


def png_that_claims(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    )


@pytest.mark.parametrize("name", NAMES)
def test_real_photographs_come_back_corrected_in_their_own_format(caller, photographs, name):
    source = (photographs / name).read_bytes()
    _, data = caller.corrected(source)
    before, after = opened(source), opened(data)
    assert after.size == before.size
    assert after.format == ("PNG" if before.format == "GIF" else before.format)
    assert data != source


def test_presets_differ(caller, photographs):
    source = (photographs / "rocket.jpg").read_bytes()
    presets = ("none", "Universal", "Beautify", "Details", "Vivid")
    results = {caller.corrected(source, preset=preset, outputType="png")[1] for preset in presets}
    assert len(results) == len(presets)


def test_preset_none_leaves_the_pixels_alone_and_counts_no_correction(caller, photographs):
    source = (photographs / "chelsea.png").read_bytes()
    view, data = caller.corrected(source, preset="none")
    assert opened(data).tobytes() == opened(source).tobytes()
    assert view["usage"]["imageCorrectionCount"] == 0
    assert view["aiserver"] is False


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({"width": 60}, (60, 40)),
        ({"height": 40}, (60, 40)),
        ({"long": 240}, (240, 160)),
        ({"short": 40}, (60, 40)),
        ({"scale": 200}, (240, 160)),
        ({"scale": 100}, None),
        ({}, None),
    ],
)
def test_each_resize_strategy_keeps_the_aspect_ratio(settings, size):
    assert target_size((120, 80), settings) == size


def test_enlarging_and_shrinking_are_counted_apart(caller, jpeg):
    larger, data = caller.corrected(jpeg, width=240, resize="smallDetails")
    assert opened(data).size == (240, 160)
    assert (larger["usage"]["imageResizeCount"], larger["usage"]["classicResizeCount"]) == (1, 0)
    smaller, _ = caller.corrected(jpeg, width=60)
    assert (smaller["usage"]["imageResizeCount"], smaller["usage"]["classicResizeCount"]) == (0, 1)


@pytest.mark.parametrize(("asked", "form"), [("jpg", "JPEG"), ("png", "PNG"), ("original", "PNG")])
def test_output_type(caller, photographs, asked, form):
    view, data = caller.corrected((photographs / "chelsea.png").read_bytes(), outputType=asked)
    assert opened(data).format == form
    assert caller.http.get(view["correctedFile"]).headers["content-type"] == Image.MIME[form]


def test_output_quality_makes_smaller_jpegs(caller, photographs):
    source = (photographs / "rocket.jpg").read_bytes()
    assert len(caller.corrected(source, outputQuality=40)[1]) < len(
        caller.corrected(source, outputQuality=95)[1]
    )


def test_exif_is_kept_byte_for_byte_by_default(caller):
    source = with_exif(Artist="Ada", Orientation=6)
    _, data = caller.corrected(source)
    assert opened(data).info["exif"] == opened(source).info["exif"]
    assert opened(data).size == (120, 80)


def test_exif_can_be_dropped_and_the_picture_is_turned_upright(caller):
    _, data = caller.corrected(with_exif(Artist="Ada", Orientation=6), preserveMetadata="false")
    assert dict(opened(data).getexif()) == {}
    assert opened(data).size == (80, 120)


@pytest.mark.parametrize("preserve", ["true", "false"])
def test_the_thumbnail_can_be_made_anew(caller, preserve):
    source = with_exif(Artist="Ada")
    _, data = caller.corrected(source, updateThumbnail="true", preserveMetadata=preserve)
    image = opened(data)
    about = image.getexif().get_ifd(ExifTags.IFD.IFD1)
    tiff = image.info["exif"].removeprefix(b"Exif\x00\x00")
    assert opened(tiff[about[0x201] :][: about[0x202]]).size == (120, 80)
    assert image.getexif().get(ExifTags.Base.Artist) == ("Ada" if preserve == "true" else None)


def test_autocrop_honours_the_aspect_ratio(caller, jpeg):
    view, data = caller.corrected(jpeg, autocrop="true", cropARW=1, cropARH=1)
    assert opened(data).size == (view["autocrop"]["width"], view["autocrop"]["height"]) == (72, 72)
    assert view["usage"]["autoCropCount"] == 1


def test_detect_only_tells_the_frame_and_crops_nothing(caller, jpeg):
    view, data = caller.corrected(jpeg, autocrop="true", autocropDetectOnly="true")
    assert opened(data).size == (120, 80)
    assert view["autocrop"] == {"left": 6, "top": 4, "width": 108, "height": 72}


def test_a_removed_background_is_a_transparent_png_unless_told_otherwise(caller, jpeg):
    view, data = caller.corrected(jpeg, removeBackground="true")
    image = opened(data)
    assert (image.format, image.getpixel((0, 0))[3], image.getpixel((60, 40))[3]) == ("PNG", 0, 255)
    assert view["usage"]["removeBackgroundCount"] == 1
    assert opened(caller.corrected(jpeg, removeBackground="true", outputType="jpg")[1]).format == "JPEG"


def test_a_background_colour_fills_it(caller, jpeg):
    _, data = caller.corrected(jpeg, removeBackground="true", bgColor="#ff0000")
    assert opened(data).getpixel((0, 0)) == (255, 0, 0, 255)


def test_removed_glares_are_counted(caller, jpeg):
    usage = caller.corrected(jpeg, removeGlares="true")[0]["usage"]
    assert (usage["glaresDetectorCount"], usage["removeGlaresCount"], usage["removeGlaresTotalCount"]) == (
        1,
        1,
        1,
    )


@pytest.mark.parametrize("size", [(40_000, 40_000), (12_000, 9_000)])
def test_a_pixel_bomb_is_failed_before_it_is_decoded(caller, size):
    view = caller.finished(caller.start(caller.upload(png_that_claims(*size))))
    assert view["status"] == "FAILED"
    assert "pixels" in view["statusText"]


def test_an_output_that_would_be_a_bomb_is_failed(caller, jpeg):
    view = caller.finished(caller.start(caller.upload(jpeg), scale=100_000))
    assert (view["status"], "pixels" in view["statusText"]) == ("FAILED", True)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16"])
def test_every_kind_of_png_can_be_had_as_a_jpeg(caller, mode):
    buffer = io.BytesIO()
    Image.new(mode, (64, 48)).save(buffer, "PNG")
    assert opened(caller.corrected(buffer.getvalue(), outputType="jpg")[1]).mode == "RGB"


def test_what_pillow_cannot_decode_comes_back_as_it_was_or_fails(caller):
    heic = b"\x00\x00\x00\x18ftypheic" + b"h" * 500
    assert caller.corrected(heic)[1] == heic
    view = caller.finished(caller.start(caller.upload(heic), outputType="jpg"))
    assert (view["status"], view["statusText"]) == ("FAILED", "The emulator cannot decode HEIC.")
