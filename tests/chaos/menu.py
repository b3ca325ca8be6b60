"""What the dice of the storm choose from."""

from __future__ import annotations

from typing import Any

#: What ``cache`` may mean. A seed's own reading, so that each emulator serves the seeds of one.
READINGS = ("free", "billed", "done-only")

NAMES = [
    "a.jpg",
    "b/c.jpg",
    "ü #1 %.jpg",
    "new\nline.jpg",
    "😀.jpg",
    "x&y+z?.jpg",
    "d/e/f.jpg",
    "PLAIN.JPG",
    "g h.jpeg",
    "%2e%2e.jpg",
    "-rf.jpg",
    "con.jpg",
    "שלום.jpg",
    "{{ ds }}.jpg",
    "c/=cmd().jpg",
    "c/::group::.jpg",
    "n" * 251 + ".jpg",
]
#: Two pictures that one output's name would do for: neither can be made.
TWINS = ["twin.jpg", "Twin.jpg"]

RENDITIONS = {"web": {"long": 40}, "print": {"output_type": "png"}}
#: One of them is a preset of the account, which is asked about before anything is planned.
CORRECTIONS = (
    None,
    None,
    None,
    {"preset": "Vivid"},
    {"cache": False},
    {"preset": "none"},
    {"preset": "Preset 00001"},
)

MOMENTS = ("before", "committed", "answering", "answered")
ROUTES = ("upload", "put", "pfc", "status", "download")
FREE_ROUTES = ("upload", "put", "status", "download")
PRESET_ROUTES = ("presets", "preset", "preset_get_file")
JSON_ROUTES = ("upload", "status")
GARBLES = ("html", "null", "list", "empty", "cut_json", "huge", "not_utf8", "utf16", "gzip_bomb")
WAITS = ("0", "1", "86400", "-1", "soon", "Wed, 21 Oct 2015 07:28:00 GMT")

LOST_STARTS: tuple[dict[str, Any], ...] = (
    {"reset": "before"},
    {"reset": "committed"},
    {"reset": "answering"},
    {"close": "committed"},
    {"silence": "committed"},
    {"answer": {"status": 502, "body": "<html>", "commit": True}},
    {"answer": {"status": 503, "body": "", "commit": False}},
    {"answer": {"status": 500, "json": {"error": "x"}, "commit": True}},
    {"remove": ["statusEndpoint"]},
    {"answer": {"status": 202, "json": {"message": "accepted"}, "commit": True}},
    {"another": True},
    {"another": {"commit": False}},
    *({"garble": kind} for kind in GARBLES),
)
BAD_DOWNLOADS: tuple[dict[str, Any], ...] = (
    {"close": {"when": "answering", "after": 200}},
    {"reset": "answering"},
    {"truncate": 300},
    {"scramble": 0},
    {"drip": {"bytes_per_second": 3000, "chunk": 300}},
    {"framing": "close"},
)
BAD_STATUS: tuple[dict[str, Any], ...] = (
    {"expired": True},
    {"remove": ["correctedFile"]},
    {"patch": {"status": "ARCHIVED"}},
    {"answer": {"status": 404, "json": {}}},
)
#: A free path that is ill for as long as a try lasts: no reason to pay, whatever it says.
ILLNESSES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("status", {"answer": {"status": 404, "json": {"error": "unknown job"}}}),
    ("status", {"answer": {"status": 403, "json": {"error": "forbidden"}}}),
    ("status", {"answer": {"status": 500, "body": "x"}}),
    ("status", {"garble": "html"}),
    ("download", {"answer": {"status": 404}}),
    ("download", {"answer": {"status": 403}}),
    ("download", {"answer": {"status": 503}}),
    ("download", {"truncate": 200}),
    ("presets", {"answer": {"status": 500}}),
    ("presets", {"body": {"json": {"presets": []}}}),
    ("preset_get_file", {"answer": {"status": 404}}),
)
#: An answer to another question, or a second answer to one.
MIXED_UP: tuple[tuple[str, dict[str, Any]], ...] = (
    ("status", {"another": True}),
    ("upload", {"another": True}),
    ("status", {"repeat": True}),
    ("upload", {"repeat": True}),
    ("pfc", {"repeat": True}),
)
#: What a destination says of one name that it does not take.
REFUSALS = ("EINVAL", "EILSEQ", "ENAMETOOLONG")
#: No job is over for as long as this lasts.
STILL: dict[str, Any] = {"patch": {"status": "PROCESSING", "correctedFile": None}}

# File system calls, and a part of the path: below the sandbox's root, or anywhere.
DEATHS = (
    ("os.rename", "/out/"),
    ("os.rename", "manifest.jsonl"),
    ("os.rename", "run.json.gz"),
    ("os.rename", "progress.json"),
    ("os.link", "lanes/all/"),
    ("os.mkdir", "/out/"),
    ("open", "/in/"),
    ("open", ".pfc-"),
    *[("open", "perfectlyclear-spool-")] * 4,  # once before, and thrice while and after it is fetched
    ("os.remove", ".pfc-"),
    ("os.remove", "run.json.gz"),
    ("os.scandir", "/out"),
    ("os.scandir", "/in"),
)
FAILURES = (
    ("os.rename", "/out/", "EIO"),
    ("os.rename", "/out/", "ENOSPC"),
    ("os.rename", "manifest.jsonl", "ENOSPC"),
    ("os.rename", "run.json.gz", "EIO"),
    ("os.rename", "progress.json", "EACCES"),
    ("os.link", "lanes/all/", "EIO"),
    ("os.link", "lanes/all/", "ENOSPC"),
    ("os.mkdir", "/out/", "EACCES"),
    ("open", "/in/", "EIO"),
    ("open", ".pfc-", "ENOSPC"),
    ("open", "perfectlyclear-spool-", "ENOSPC"),
    ("open", "lanes/all/", "EIO"),
    ("os.remove", ".pfc-", "EIO"),
    ("os.scandir", "/out", "EIO"),
    ("os.scandir", "/in", "EIO"),
)
