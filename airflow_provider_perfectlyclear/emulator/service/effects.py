"""Stand-ins for what needs to know what is in a picture: a face in the middle, a subject around it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PIL import Image, ImageChops, ImageColor, ImageDraw


def autocrop_frame(size: tuple[int, int], settings: Mapping[str, Any]) -> dict[str, int]:
    """
    Return the frame that an autocrop keeps: nine tenths of the picture, in the aspect ratio that was asked for.

    :param size: of the picture.
    :param settings: ``cropARW`` and ``cropARH`` give the ratio; ``autocropX`` and ``autocropY`` move the
    frame.
    """
    width, height = size
    ratio = settings.get("cropARW", width) / settings.get("cropARH", height)
    if "cropARW" not in settings or "cropARH" not in settings:
        ratio = width / height
    kept = min(width * 0.9, height * 0.9 * ratio)
    frame_width, frame_height = max(round(kept), 1), max(round(kept / ratio), 1)
    left = _within((width - frame_width) * (0.5 + settings.get("autocropX", 0.0)), width - frame_width)
    top = _within((height - frame_height) * (0.5 + settings.get("autocropY", 0.0)), height - frame_height)
    return {"left": left, "top": top, "width": frame_width, "height": frame_height}


def _within(value: float, most: int) -> int:
    return max(0, min(round(value), most))


def without_background(image: Image.Image, colour: str) -> Image.Image:
    """
    Keep an ellipse in the middle.

    :param image: the picture.
    :param colour: of the background; ``transparent`` for none.
    """
    mask = Image.new("L", image.size, 0)
    ImageDraw.Draw(mask).ellipse((0, 0, image.width - 1, image.height - 1), fill=255)
    subject = image.convert("RGBA")
    subject.putalpha(ImageChops.multiply(subject.getchannel("A"), mask))
    if colour == "transparent":
        return subject
    ground = Image.new("RGBA", image.size, ImageColor.getcolor(colour, "RGBA"))
    return Image.alpha_composite(ground, subject)


def detection_data(size: tuple[int, int], seed: bytes) -> dict[str, Any]:
    """
    Plausible data of one face in the middle, the same for the same picture.

    :param size: of the picture.
    :param seed: bytes that differ from picture to picture.
    """
    width, height = size
    left, top = width // 3, height // 4
    eye_line = top + height / 10
    face = {
        "confidence": 80 + seed[0] % 20,
        "angle": seed[1] % 10 - 5,
        "blink": seed[2] % 100,
        "smile": seed[3] % 100,
        "yawAngle": seed[4] % 20 - 10,
        "left": left,
        "top": top,
        "width": max(width // 3, 1),
        "height": max(height // 3, 1),
        "leftEye": {"x": left + width * 0.2, "y": eye_line},
        "rightEye": {"x": left + width * 0.1, "y": eye_line},
    }
    return {
        "facesCount": 1,
        "faces": [face],
        "scene": seed[5] % 12,
        "noise": "unknown",
        "redEye": "disabled",
        "warnings": [],
        "message": "",
        "status": "ok",
    }
