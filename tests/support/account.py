"""The connection that tests use, a key to look for, and a small picture."""

from __future__ import annotations

import io

from PIL import Image

CONN_ID = "pc"
KEY = "canary-7f3e9a-key"


def picture(colour: str = "teal") -> bytes:
    """A small photograph's stand-in."""
    image = Image.linear_gradient("L").resize((96, 64)).convert("RGB")
    image.paste(Image.new("RGB", (30, 20), colour), (10, 10))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    return file.getvalue()
