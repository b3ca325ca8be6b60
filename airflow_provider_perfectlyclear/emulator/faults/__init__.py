"""
The fault language: how a test makes the emulator fail, exactly where and exactly as often as it says.

``POST /_emulator/faults`` on the API's port takes one instruction and answers ``{"id": "..."}``::

    {"match": {"route": "pfc", "nth": 2}, "do": [{"reset": "committed"}], "times": 1}

``GET /_emulator/faults`` answers ``{"unconsumed": [...], "misfired": [...]}``: instructions that have not
happened as often as they said (one that is for ever: never), and those whose actions met an answer they
cannot change. A test asserts that both are empty. ``DELETE /_emulator/faults`` drops all.

Which requests
==============

``match`` says which; everything given must agree:

* ``route``: ``upload``, ``put``, ``pfc``, ``status``, ``download``, ``presets``, ``preset_create``,
  ``preset``, ``preset_delete``, ``preset_put``, ``preset_get_file`` or ``any`` (the default).
* ``contains``: a part of the path and query, as sent.
* ``job_id``: for ``status`` and ``download``. ``file_key``: for ``put``, ``pfc``, ``status`` and
  ``download``.
* ``sha256``: of the uploaded file, for ``pfc``, ``status`` and ``download``: one picture by its content.
* ``idle``: the request comes on a kept connection that was idle for at least so many seconds.
* ``nth``: the first request to fail, counted from 1 among those that match, since the instruction was
  posted. Default 1.
* ``times``: how many in a row from there; default 1; null or -1 for ever. May stand beside ``match`` instead.
* ``seconds``: as many as come within so many seconds since the instruction was posted.

Each instruction counts for itself. All that a request meets apply, in the order in which they were posted: two
posted for the same route both happen to the first request, unless one of them says ``"nth": 2``.

When
====

A request goes through five moments, by these names:

* ``before``: its head was read; nothing else was read, nothing is done.
* ``reading``: ``after`` bytes of its body were read (default: half). Only ``put``, ``preset_put``,
  ``preset_create``, ``any``.
* ``committed``: the service has done it (the file is stored, the job is started and billed); nothing is
  answered.
* ``answering``: the head and ``after`` bytes of the body (default: half) are written to the socket.
* ``answered``: all is written to the socket.

What happens
============

``do`` is a list of actions (or one), each an object with one key, done in order within their moment.

Ending the connection. Each takes a moment, or ``{"when": moment, "after": bytes}``:

* ``{"reset": "committed"}``: a TCP reset.
* ``{"close": {"when": "answering", "after": 1000}}``: close quietly: a cut download. See ``framing``.
* ``{"silence": "before"}``: say nothing more and keep the connection open until the client ends it.
* ``{"kill": {"pid": "peer", "when": "answered", "signal": "SIGKILL"}}``: send a signal to a process, by its
  id or the one at the other end of this connection (``"peer"``, the default). After SIGKILL the request
  ends there and then; after any other signal (default SIGKILL; ``"SIGSTOP"``, ``"SIGTERM"``, ...) it goes
  on. Never the emulator itself.

Time:

* ``{"delay": 1.5}`` or ``{"delay": {"seconds": 1.5, "when": "committed"}}``: wait; default ``before``.
* ``{"drip": 10}`` or ``{"drip": {"bytes_per_second": 10, "chunk": 1}}``: write the answer's body slowly.

Answering something else. With ``"commit": true`` the service does its work first, else (the default) it
never hears of it:

* ``{"answer": {"status": 503, "headers": {"Retry-After": "2"}, "body": "busy", "commit": true}}``; ``json``
  instead of ``body``.
* ``{"redirect": "http://..."}`` or ``{"redirect": {"to": "http://...", "status": 307, "commit": false}}``;
  default 302. To ``"self"``: to the same URL with ``&hop=1`` added, which is as good as the first.
* ``{"another": true}``: what this route has answered to another question last: of another job, another file key; only
  what was sent, unchanged, before this request came, and of jobs one that was asked about since. The service does its
  work, but for ``{"another": {"commit": false}}``.
* ``{"repeat": true}``: the answer is written twice, though asked for once: on a kept connection, the second one waits
  for the next question.

Changing the service's own answer (its work is done):

* ``{"patch": {"status": "DONE", "code": null}}``: a JSON merge patch; null removes.
* ``{"set": {"statusEndpoint": null}}``: set top-level fields as they are, null too. ``{"remove":
  ["correctedFile"]}``.
* ``{"origin": "https://other.example"}``: every URL in the answer leads to this scheme, host and port; paths stay.
* ``{"http_status": 500}``: another status with the same body.
* ``{"headers": {"Retry-After": "Wed, 21 Oct 2035 07:28:00 GMT", "ETag": null}}``: set headers; null removes.
* ``{"body": "text"}``, ``{"body": {"json": [1]}}`` or ``{"body": {"base64": "..."}}``, each with a
  ``content_type`` if wanted.
* ``{"garble": name}``: a body of a known bad kind: ``html``, ``null``, ``list``, ``empty``, ``cut_json``
  (half of it), ``huge`` (10 MB of it, padded), ``not_utf8`` (says UTF-8, is not), ``utf16``, ``gzip_bomb``
  (100 MB in 100 kB).
* ``{"framing": "chunked"}`` or ``"close"`` (until the connection ends): the answer has no Content-Length.

* ``{"echo": "words"}`` or ``{"echo": {"as": "words", "status": 403}}``: refuse, and tell a signature: in ``words``,
  a ``part`` of it in words, ``json``, ``escaped`` (JSON whose every sign is one), ``xml``, ``html``, ``percent`` or a
  ``header``.

Bytes, for ``put`` and ``preset_put`` (what is stored, though 200) and ``download`` and ``preset_get_file``
(what is sent):

* ``{"truncate": 100}``: only the first 100 bytes, as if that were all.
* ``{"scramble": 100}``: right length, but all bytes from the 100th on are wrong.

Signed URLs, for ``upload``, ``status``, ``preset`` and ``preset_create``:

* ``{"expired": true}``: the URLs in this answer are over already; those of the next answer are good.

Jobs, for ``pfc`` alone:

* ``{"make": {"enlarge": false}}``: the job never enlarges. ``{"make": {"scale": 50}}``: the result has half the edges
  of what it should have. ``{"make": {"type": "png"}}``, ``jpg``, ``webp`` or ``tiff``: it is of that type.

Jobs, for ``pfc`` (the job that it starts) and ``status`` (the job that is asked about), for good:

* ``{"outcome": "FAILED"}``, ``"REJECTED"``, ``"stuck"`` (PROCESSING for ever), ``"lost"`` (404),
  ``"backwards"`` (COMPLETED once, then PROCESSING) or ``"no_file"`` (COMPLETED without correctedFile).
* ``{"outcome": {"status": "ARCHIVED", "statusText": "...", "correctedFile": "http://...", "stuck":
  "PENDING"}}``: any of these; ``status`` is said verbatim when the job is over (unknown values,
  ``"completed"``), ``correctedFile`` may be null.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_perfectlyclear.emulator.faults.actions import Action, BadFault, expect, read_actions

ROUTES = (
    "upload",
    "put",
    "pfc",
    "status",
    "download",
    "presets",
    "preset_create",
    "preset",
    "preset_delete",
    "preset_put",
    "preset_get_file",
)
_MATCH_KEYS = {"route", "contains", "job_id", "file_key", "sha256", "idle", "nth", "times", "seconds"}


@dataclass(frozen=True)
class Request:
    """
    What instructions are compared with.

    :param route: the route's name.
    :param target: path and query, as sent.
    :param job_id: that it names, if any.
    :param file_key: that it names, or its job's.
    :param idle: for how many seconds its connection had been idle; None: it is a new one.
    :param sha256: of the file that was uploaded; asked for only if an instruction wants to know it.
    """

    route: str
    target: str
    job_id: str | None
    file_key: str | None
    idle: float | None
    sha256: Callable[[], str | None]


@dataclass
class Instruction:
    """
    One posted instruction.

    :param id: to name it by.
    :param posted: as it was posted.
    :param match: the part that requests are compared with.
    :param actions: what happens.
    :param nth: the first matching request it happens to, from 1.
    :param times: how often; None for ever.
    :param until: when it is over, on the monotonic clock; None for never.
    :param matched: how many requests have matched.
    :param happened: how often it has happened.
    """

    id: str
    posted: Mapping[str, Any]
    match: Mapping[str, Any]
    actions: tuple[Action, ...]
    nth: int
    times: int | None
    until: float | None = None
    matched: int = 0
    happened: int = 0

    def meets(self, request: Request) -> bool:
        """Whether it is about this request."""
        match = self.match
        for key in ("route", "job_id", "file_key"):
            if key in match and getattr(request, key) != match[key]:
                return False
        if match.get("contains", "") not in request.target:
            return False
        if "idle" in match and (request.idle is None or request.idle < match["idle"]):
            return False
        return "sha256" not in match or request.sha256() == match["sha256"]

    def happens(self) -> bool:
        """Count a matching request, and say whether it is one to fail."""
        self.matched += 1
        due = self.matched >= self.nth and not self.consumed
        self.happened += due
        return due

    @property
    def consumed(self) -> bool:
        """Whether it has nothing left to do."""
        if self.until is not None and time.monotonic() >= self.until:
            return True
        return self.times is not None and self.happened >= self.times

    @property
    def satisfied(self) -> bool:
        """Whether it did what its test wanted to see done."""
        return self.happened > 0 if self.times is None or self.until is not None else self.consumed


@dataclass
class Instructions:
    """All instructions but those that did what they said, and the actions that misfired."""

    pending: list[Instruction] = field(default_factory=list)
    misfired: list[dict[str, Any]] = field(default_factory=list)

    def post(self, posted: Any) -> str:
        """
        Take an instruction.

        :param posted: its JSON.
        :return: its id.
        :raises BadFault: it names something that does not exist.
        """
        instruction = read_instruction(posted)
        self.pending.append(instruction)
        return instruction.id

    def take(self, request: Request) -> list[tuple[str, Action]]:
        """Which actions apply to a request, with the ids of their instructions."""
        due = [found for found in self.pending if found.meets(request) and found.happens()]
        if due:
            self.pending = [found for found in self.pending if not (found.consumed and found.satisfied)]
        return [(found.id, action) for found in due for action in found.actions]

    def misfire(self, instruction_id: str, why: str) -> None:
        """Note an action that could not be done: its test would pass without having tested anything."""
        self.misfired.append({"id": instruction_id, "misfired": why})

    def clear(self) -> None:
        """Drop everything."""
        self.pending.clear()
        self.misfired.clear()

    def report(self) -> dict[str, Any]:
        """Return what has not happened as it was told to."""
        left = [found for found in self.pending if not found.satisfied]
        unconsumed = [{"id": found.id, "happened": found.happened, **found.posted} for found in left]
        return {"unconsumed": unconsumed, "misfired": self.misfired}


def read_instruction(posted: Any) -> Instruction:
    """
    Check an instruction.

    :raises BadFault: saying what is wrong with it.
    """
    expect(isinstance(posted, Mapping), "an instruction is an object with 'match' and 'do'")
    unknown = set(posted) - {"match", "do", "times"}
    expect(not unknown, f"unknown key {_names(unknown)}; an instruction has 'match', 'do' and 'times'")
    match = _read_match(posted.get("match", {}))
    nth, seconds = match.pop("nth", 1), match.pop("seconds", None)
    expect("times" not in match or "times" not in posted, "'times' is given twice")
    times = match.pop("times", posted.get("times", 1 if seconds is None else None))
    route = match.pop("route", "any")
    if route != "any":
        match["route"] = route
    actions = read_actions(posted.get("do"), route)
    return Instruction(
        secrets.token_hex(6),
        posted,
        match,
        actions,
        _positive("nth", nth),
        _read_times(times),
        None if seconds is None else time.monotonic() + seconds,
    )


def _read_match(match: Any) -> dict[str, Any]:
    expect(isinstance(match, Mapping), "'match' is an object")
    unknown = set(match) - _MATCH_KEYS
    expect(not unknown, f"unknown match key {_names(unknown)}; known: {', '.join(sorted(_MATCH_KEYS))}")
    route = match.get("route", "any")
    expect(route in (*ROUTES, "any"), f"unknown route {route!r}; known: {', '.join(ROUTES)}, any")
    for key in ("contains", "job_id", "file_key", "sha256"):
        expect(isinstance(match.get(key, ""), str), f"{key!r} is a string")
    for key in ("idle", "seconds"):
        value = match.get(key, 0)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        expect(is_number and value >= 0, f"{key!r} is a number of seconds, not {value!r}")
    return dict(match)


def _read_times(times: Any) -> int | None:
    return None if times in (None, -1) else _positive("times", times)


def _positive(name: str, value: Any) -> int:
    expect(type(value) is int and value > 0, f"{name!r} is a positive integer, not {value!r}")
    return int(value)


def _names(unknown: set[Any]) -> str:
    return ", ".join(sorted(map(repr, unknown)))


__all__ = ["ROUTES", "Action", "BadFault", "Instruction", "Instructions", "Request", "read_instruction"]
