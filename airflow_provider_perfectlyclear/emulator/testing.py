"""
The emulator for tests: as a process of its own, so that it can kill and be killed, and as a pytest fixture.

In a ``conftest.py``::

    from airflow_provider_perfectlyclear.emulator.testing import perfectlyclear_emulator

In a test::

    def test_my_dag_survives_a_lost_answer(perfectlyclear_emulator):
        perfectlyclear_emulator.fault("pfc", {"reset": "committed"})
        ...
        assert perfectlyclear_emulator.bill()["billed"] == 1
        assert perfectlyclear_emulator.unconsumed() == []
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_perfectlyclear.emulator.transport.signing import MARK

try:
    import pytest
except ImportError as error:
    raise ImportError(f"{__name__} is for tests and needs pytest: pip install pytest") from error

KEY = "emulator-key"
# Removing the files of 100,000 pictures takes a while.
STOP_SECONDS = 60.0
START_SECONDS = 30.0
CONTROL_SECONDS = 60.0
_ADDRESSES = re.compile(r"(https?://\S+/v2), files (https?://\S+)")


class Emulator:
    """
    A running emulator.

    :param process: that it runs in.
    :param base_url: of the API, as ``http://127.0.0.1:PORT/v2``.
    :param storage_url: of the storage, as ``http://127.0.0.1:PORT``.
    :param key: an API key that it accepts.
    """

    def __init__(self, process: subprocess.Popen[str], base_url: str, storage_url: str, key: str) -> None:
        self.process = process
        self.base_url = base_url
        self.storage_url = storage_url
        self.key = key

    @property
    def pid(self) -> int:
        """The id of its process."""
        return self.process.pid

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must be found in no log, record or message: the key, and what every signature begins with."""
        return self.key, MARK

    def connection_json(self, **extra: Any) -> str:
        """
        Return an Airflow connection to it, for ``AIRFLOW_CONN_PERFECTLYCLEAR_DEFAULT``.

        :param extra: what to put into the connection's extra.
        """
        connection: dict[str, Any] = {
            "conn_type": "perfectlyclear",
            "host": self.base_url,
            "password": self.key,
        }
        return json.dumps(connection | ({"extra": extra} if extra else {}))

    def fault(
        self,
        match: str | Mapping[str, Any],
        do: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        times: int | None = 1,
    ) -> str:
        """
        Make it fail; :mod:`airflow_provider_perfectlyclear.emulator.faults` has the language.

        :param match: which requests: a route's name, or an object.
        :param do: an action, or several.
        :param times: how often; None for ever.
        :return: the instruction's id.
        :raises ValueError: the instruction cannot be meant.
        """
        wanted: dict[str, Any] = {"route": match} if isinstance(match, str) else dict(match)
        wanted.setdefault("times", times)
        actions = [do] if isinstance(do, Mapping) else list(do)
        return str(self._control("POST", "/faults", {"match": wanted, "do": actions})["id"])

    def unconsumed(self) -> list[dict[str, Any]]:
        """Instructions that have not happened as told, or misfired: a test asserts that there are none."""
        report = self._control("GET", "/faults")
        return [*report["unconsumed"], *report["misfired"]]

    def clear_faults(self) -> None:
        """Drop all instructions."""
        self._control("DELETE", "/faults")

    def bill(self, *, summary: bool = False, results: bool = False) -> dict[str, Any]:
        """
        Return what was accepted and billed.

        :param summary: without the list of entries.
        :param results: with the digest of what each job has made.
        """
        return self._control("GET", f"/bill?summary={str(summary).lower()}&results={str(results).lower()}")

    def behave(self, **options: Any) -> None:
        """
        Let it behave otherwise until a reset.

        :param options: some of ``cache``, ``same_job``, ``enlarge``, ``keep_hours`` and ``job_seconds``, as on the
            command line.
        :raises ValueError: it has no such option.
        """
        self._control("POST", "/options", options)

    def let_pass(self, hours: float) -> None:
        """
        Let it forget what it would forget if time had passed: uploads, jobs and their files older than ``keep_hours``.

        :param hours: how many.
        """
        self._control("POST", "/pass", {"hours": hours})

    def seen(self) -> dict[str, Any]:
        """Tell what each origin, ``api`` and ``storage``, was asked, with its headers. Keys are told as digests."""
        return self._control("GET", "/seen")

    def presets(self) -> list[dict[str, Any]]:
        """All presets, those without a file too, which the API does not list."""
        return list(self._control("GET", "/presets")["presets"])

    def make_presets(self, count: int) -> None:
        """
        Make presets that can be used, called ``Preset 00001`` and so on.

        :param count: how many, up to 100,000.
        """
        self._control("POST", "/presets", {"count": count})

    def set_key(self, key: str | None) -> None:
        """
        Demand another key from now on.

        :param key: None for any that is not empty.
        """
        self._control("POST", "/key", {"key": key})

    def adopt(
        self,
        data: bytes,
        *,
        file_key: str,
        job_id: str | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """
        Make it know an upload that another emulator was given, and the job that it had, billed.

        :param data: what was uploaded.
        :param file_key: of the upload.
        :param job_id: of the job; None: it had none.
        :param settings: of the job, as the other emulator's bill has them.
        """
        packed = base64.b64encode(data).decode()
        given = {"base64": packed, "file_key": file_key, "job_id": job_id, "settings": dict(settings or {})}
        self._control("POST", "/adopt", given)

    def reset(self) -> None:
        """Forget everything: uploads, jobs, presets, bill, faults and what was seen."""
        self._control("POST", "/reset")

    def stop(self) -> int:
        """
        End it.

        :return: the exit code; 0 unless something went wrong.
        """
        self.process.terminate()
        try:
            code = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        return code

    def _control(self, method: str, path: str, data: Any = None) -> dict[str, Any]:
        # A connection of its own each time: it must not be what a kill of "peer" or a fork finds.
        connection = _connect(self.base_url)
        try:
            body = None if data is None else json.dumps(data)
            headers = {} if data is None else {"Content-Type": "application/json"}
            connection.request(method, f"/_emulator{path}", body, headers)
            answer = connection.getresponse()
            found: dict[str, Any] = json.loads(answer.read())
        finally:
            connection.close()
        if answer.status != 200:
            raise ValueError(found.get("error", found))
        return found


def _connect(url: str) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    if parts.scheme == "http":
        return http.client.HTTPConnection(parts.netloc, timeout=CONTROL_SECONDS)
    # Its certificate is what the test gave it: there is no authority to ask.
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return http.client.HTTPSConnection(parts.netloc, timeout=CONTROL_SECONDS, context=context)


def start_emulator(**options: Any) -> Emulator:
    """
    Start an emulator in a process of its own, on free ports, and return when it answers.

    It ends with :meth:`Emulator.stop`, or when this process does.

    :param options: those of the command line with underscores: ``job_seconds=0.1, cache="done-only",
    echo=True``.
        Here a job takes 0.05 seconds unless told otherwise, the key is ``emulator-key`` and the port any free one.
    :raises RuntimeError: it did not start; its standard error says why.
    """
    given = {"job_seconds": 0.05, "jobs": 64, "port": 0, **options}
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "airflow_provider_perfectlyclear.emulator",
            "--exit-with-parent",
            *_arguments(given),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=_environment(),
    )
    addresses = _ADDRESSES.search(_first_line(process))
    if addresses is None:
        process.kill()
        raise RuntimeError(f"The emulator did not start (exit code {process.wait()}).")
    return Emulator(process, addresses[1], addresses[2], options.get("key") or KEY)


def _first_line(process: subprocess.Popen[str]) -> str:
    """Return what it prints when it answers; nothing if it ends before, or takes far too long."""
    watchdog = threading.Timer(START_SECONDS, process.kill)
    watchdog.start()
    try:
        return process.stdout.readline() if process.stdout else ""
    finally:
        watchdog.cancel()


def _arguments(options: Mapping[str, Any]) -> Iterator[str]:
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            yield flag
        elif value is not None and value is not False:
            yield f"{flag}={value}"


def _environment() -> dict[str, str]:
    """Return this process's, in which the package is found even if it is not installed."""
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


@contextmanager
def running_emulator(**options: Any) -> Iterator[Emulator]:
    """
    Run an emulator for the length of a ``with`` block.

    :param options: as for :func:`start_emulator`.
    """
    emulator = start_emulator(**options)
    try:
        yield emulator
    finally:
        emulator.stop()


@pytest.fixture
def perfectlyclear_emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """Start an emulator of the test's own, which the connection ``perfectlyclear_default`` leads to."""
    with running_emulator() as emulator:
        monkeypatch.setenv("AIRFLOW_CONN_PERFECTLYCLEAR_DEFAULT", emulator.connection_json())
        yield emulator
