"""The choices that the catalog's arguments offer."""

from __future__ import annotations

from typing import Literal

Reprocess = Literal["changed", "source_changed", "missing", "failed", "always"]
IfEmpty = Literal["fail", "skip", "succeed"]
IfUnchanged = Literal["succeed", "skip"]
Manifest = Literal["all", "changed"]
Verify = Literal["strict", "fail", "warn"]
Ambiguous = Literal["auto", "fail", "restart"]
