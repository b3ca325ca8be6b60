"""Names as no careful person would give them. A number always makes the same one."""

from __future__ import annotations

import random
import unicodedata

SEED = 20261122

#: Folders of the destination in which nothing may be written.
CLOSED = (".perfectlyclear", "Kept/Über", "in")

_PARTS = [
    "..", ".", "", "...", " ", "a", "b.jpg", "a..b.jpg", ". .", ".. ", " ..", "..\\..\\a.jpg",
    "..%2f..%2fa.jpg", "%2e%2e", "%2e%2e%2fa.jpg", "..%c0%afa.jpg", "..;", "C:", "C:\\a.jpg", "c:a.jpg",
    "\\\\host\\share\\a.jpg", "~", "~root", "CON", "NUL.jpg", "aux.png", "com1.jpeg", "LPT9", "nul\0.jpg",
    "\0", "new\nline.jpg", "\r\n", "tab\t.jpg", "\x1b[2J.jpg", "\x7f.jpg", "\u202egpj.exe", "\u200e.jpg",
    "\u2028.jpg", "\ufeff.jpg", "\u2024\u2024", "\uff0e\uff0e", "\u2215a.jpg", "\uff0fa.jpg", "e\u0301.jpg",
    "\u00e9.jpg", "\u212b.jpg", "ﬁ.jpg", "ß.jpg", "SS.jpg", "İ.jpg", "😀" * 62 + ".jpg", "x" * 255, "x" * 256,
    "x" * 252 + ".jpg", "ü" * 127, "ü" * 128, "\ud800.jpg", "\udcff.jpg", "\udfff", "caf\udce9.jpg", "a.",
    "a ", "a.jpg.", "a.jpg ", " a.jpg", "-rf", "--", "*", "?", "[a].jpg", "{path}", "{dir}", "$(id).jpg",
    "`id`.jpg", "a;b.jpg", "a|b.jpg", "a'b.jpg", 'a"b.jpg', "<a>.jpg", "a#b.jpg", "a?b=c.jpg", "a&b.jpg",
    "a%b.jpg", "a+b.jpg", "file:", "http:", "memory:", "s3:", "a::b.jpg", "zip:", "user:pass@h",
    ".hidden.jpg", ".pfc-0-12.part", ".part", ".perfectlyclear", ".PerfectlyClear", ".perfectlyclear.",
    ".perfectlyclear ", "lanes", "Kept", "kept", "KEPT", "Über", "über", "U\u0308ber", "in", "IN", "In",
    "leads-out", "leads-up", "loops", "leads-out.jpg", "etc", "tmp", "proc", "self", "root",
]  # fmt: skip

_TEMPLATES = [
    "{path}", "{dir}/{stem}.{ext}", "{stem}", "{ext}", "{rendition}/{path}", "{rendition}", "{dir}",
    "../{path}", "/{path}", "{dir}/../{path}", "{dir}{dir}/{stem}", "{path}/..", "{stem}/{path}",
    "{ext}/{stem}.{rendition}", "./{path}", "{path}/", ".perfectlyclear/{path}",
    ".PERFECTLYCLEAR/{rendition}/{stem}", "in/{path}", "{dir}/in/{stem}", "Kept/{rendition}/{stem}",
    "{dir}\\{path}", "C:/{path}", "{stem}\0", "{path}\n", ".pfc-{stem}.part", "{rendition}.{ext}",
    "{ext}{stem}", "//{path}", "{path}{path}", "{{path}}", "{path", "{stem!r}", "{0}", "{stem.__class__}",
    "~/{path}", "%2e%2e/{path}",
]  # fmt: skip


def name(number: int) -> str:
    """One name of a file."""
    dice = random.Random(f"{SEED}/name/{number}")
    between = dice.choice(("/", "/", "/", "/", "//", "\\", ""))
    made = between.join(part(dice) for _ in range(dice.choice((1, 1, 2, 2, 3, 6))))
    kind = dice.random()
    if kind < 0.1:
        return f"/{made}"
    if kind < 0.6:
        return f"{made}.jpg"
    if kind < 0.7:
        return unicodedata.normalize(dice.choice(("NFC", "NFD", "NFKC")), made)
    return made


def part(dice: random.Random) -> str:
    """One part of a name: an evil one, or a few letters from anywhere."""
    kind = dice.random()
    if kind < 0.7:
        return dice.choice(_PARTS)
    if kind < 0.8:
        return "".join(dice.choice("./\\% :~\0") for _ in range(dice.randrange(1, 6)))
    if kind < 0.9:
        return "".join(
            chr(dice.randrange(dice.choice((0x80, 0x3000, 0xD800)))) for _ in range(dice.randrange(1, 70))
        )
    return "".join(dice.choice("abcdefgh") for _ in range(dice.randrange(1, 9)))


def template(dice: random.Random) -> str:
    """A name template, its fields between evil parts now and then."""
    made = dice.choice(_TEMPLATES)
    return f"{part(dice)}/{made}" if dice.random() < 0.2 else made
