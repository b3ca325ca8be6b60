"""Every message of the troubleshooting page is said by the code: most are provoked, the others found in the source."""

from __future__ import annotations

import base64
import errno
import io
import json
import logging
import os
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import airflow
import httpx
import pytest
from PIL import Image

from airflow_provider_perfectlyclear import __main__ as command_line
from airflow_provider_perfectlyclear.catalog.engine import start_queue as starts
from airflow_provider_perfectlyclear.catalog.engine.board import Board
from airflow_provider_perfectlyclear.catalog.ledger.lane import Ledger
from airflow_provider_perfectlyclear.catalog.ledger.owners import wait_for_owner
from airflow_provider_perfectlyclear.catalog.ledger.rows import Row as LedgerRow
from airflow_provider_perfectlyclear.catalog.ledger.rows import State
from airflow_provider_perfectlyclear.catalog.ledger.segments import read_lane
from airflow_provider_perfectlyclear.catalog.plan import notes
from airflow_provider_perfectlyclear.catalog.transfer import spool
from airflow_provider_perfectlyclear.emulator.testing import running_emulator
from airflow_provider_perfectlyclear.hooks.perfectlyclear import PerfectlyClearHook
from airflow_provider_perfectlyclear.operators import perfectlyclear as operators
from airflow_provider_perfectlyclear.reasons import PERMANENT, Reason
from airflow_provider_perfectlyclear.sensors.perfectlyclear import PerfectlyClearJobSensor
from airflow_provider_perfectlyclear.storage import check_name
from airflow_provider_perfectlyclear.storage.local import LocalStore
from airflow_provider_perfectlyclear.triggers import polling as asking
from airflow_provider_perfectlyclear.triggers.perfectlyclear import PerfectlyClearJobsTrigger
from tests.support.account import CONN_ID, KEY, picture
from tests.support.certificate import self_signed
from tests.support.documents import PACKAGE, is_in_source, rows, says, spans, text_of
from tests.support.tasks import first_event, run

PAGE = "docs/troubleshooting.md"
OF_AIRFLOW = "What Airflow itself says"


def quoted() -> Iterator[tuple[str, str]]:
    """Heading and message: the first column of tables of messages, and the reasons of codes."""
    for row in rows(PAGE):
        if "reasons" in row.columns:
            yield from ((row.heading, span) for span in spans(row.cell("reasons")))
        else:
            assert row.columns[0] in ("the log says", "it says"), row.columns
            yield from ((row.heading, span) for span in spans(row.cells[0]))


MESSAGES = list(dict.fromkeys(message for heading, message in quoted() if heading != OF_AIRFLOW))
MESSAGES_OF_AIRFLOW = list(dict.fromkeys(message for heading, message in quoted() if heading == OF_AIRFLOW))

#: Not provoked here, as it takes a network, a clock or another process to do so: found in the source.
FROM_SOURCE = {
    "the worker was ended while it copied",
    "could not be fetched",
    "is locked by others",
    "knows nothing yet",
    "The last run of this task wrote ledger",
    "is an older copy",
    "This run was deferred, and what it had written",
    "The ledger in ... is about",
    "in another layout of shards",
    "was taken over by another run",
    "meanwhile; planning again",
    "used by another try of this task",
    "(lane ...) is locked by another run",
    "is being corrected now",
    "s to see whether it still runs",
    "Warning: ... had ... paid for",
    "so two runs could pay for the same picture",
    "still running at the service, which cannot cancel jobs",
    "The task was asked to stop; what it started",
    "failures in a row (",
    "A status check of job",
    "is not in UTF-8",
    "at most ... can be sent",
    "where the source or the ledger lies",
    "than the ... bytes it had",
    "cannot be written under this name",
    "the corrected file is cut short",
    "its corrected file is gone (404)",
    "the run was stopped before it was started",
    "its job is still open; the next run asks for it",
    "its source is not there any more",
    "this process stood still for too long",
    "its earlier result is gone",
    "Nothing but failures for",
    "larger than",
    "asking again was refused",
    "names another picture's job for it",
    "Stopped waiting for",
    "The trigger stopped waiting",
    "is incomplete and could not be removed",
    "has no file: the service named no uri",
    "a link in its folder leads out",
    "the store's ETag is not the MD5",
    "Its earlier result could not be asked for",
    "a task for this picture alone works on it",
    "the file is cut short",
    "its key would have ... bytes",
    "is no name that this destination takes",
}


def whole(part: str) -> list[str]:
    """The quoted messages that a part of one names."""
    found = [part] if part in MESSAGES else [message for message in MESSAGES if part in message]
    assert found, f"{PAGE} quotes no message with {part!r}"
    return found


# ---- provoking


class Workspace(SimpleNamespace):
    """The service, three pictures, and the messages of the tasks."""

    @property
    def said(self) -> list[str]:
        """Errors, log lines of the package, and what operators print through Airflow's own logger."""
        printed = self.capsys.readouterr()
        self.told += [*printed.out.splitlines(), *printed.err.splitlines()]
        return [*self.told, *(record.getMessage() for record in self.caplog.records)]

    def attempt(self, do: Callable[[], Any]) -> Any:
        """Do it, and note what it fails with."""
        try:
            return do()
        except Exception as error:  # noqa: BLE001  # every error is a message to compare
            self.told.append(str(error))

    def connection(self, *, extra: Any = None, **fields: Any) -> None:
        """Change the connection; repeats would only take time."""
        given = {"conn_type": "perfectlyclear", "password": KEY, "host": self.service.base_url, **fields}
        given["extra"] = {"max_retries": 0} | extra if isinstance(extra, dict | None) and extra else extra
        given["extra"] = given["extra"] or {"max_retries": 0}
        self.monkeypatch.setenv(f"AIRFLOW_CONN_{CONN_ID.upper()}", json.dumps(given))

    def presets(self) -> None:
        """The cheapest thing to ask for."""
        with PerfectlyClearHook(CONN_ID) as hook:
            self.attempt(lambda: list(hook.iter_presets()))

    def test_connection(self) -> None:
        self.told.append(PerfectlyClearHook(CONN_ID).test_connection()[1])

    def catalog(self, **kwargs: Any) -> Any:
        given = {"source": str(self.photos), "destination": str(self.out), "poll_interval": 0.1, **kwargs}
        make = operators.PerfectlyClearCatalogOperator
        return self.attempt(lambda: run(make(task_id="catalog", perfectlyclear_conn_id=CONN_ID, **given)))

    def one(self, **kwargs: Any) -> Any:
        given = {
            "source": f"{self.photos}/a.jpg",
            "destination": f"{self.out}/",
            "poll_interval": 0.1,
            **kwargs,
        }
        make = operators.PerfectlyClearCorrectOperator
        return self.attempt(lambda: run(make(task_id="one", perfectlyclear_conn_id=CONN_ID, **given)))

    def start(self, **kwargs: Any) -> Any:
        make = operators.PerfectlyClearStartCorrectionOperator
        return self.attempt(lambda: run(make(task_id="start", perfectlyclear_conn_id=CONN_ID, **kwargs))[0])

    def preset(self, kind: str, **kwargs: Any) -> Any:
        make = getattr(operators, f"PerfectlyClear{kind}PresetOperator")
        return self.attempt(lambda: run(make(task_id="preset", perfectlyclear_conn_id=CONN_ID, **kwargs))[0])

    def answer(self, route: str, status: int, times: int | None = None, **more: Any) -> None:
        self.service.fault(route, {"answer": {"status": status, **more}}, times=times)


@pytest.fixture
def workspace(service, photos, tmp_path, monkeypatch, caplog, capsys):
    caplog.set_level(logging.INFO, "airflow_provider_perfectlyclear")
    monkeypatch.setattr(asking, "SETTLE", 0.0)
    monkeypatch.setattr(starts, "UNKNOWN", 0.3)
    monkeypatch.setattr(starts, "LEAST", 0.3)
    made = Workspace(
        service=service,
        photos=photos,
        out=tmp_path / "out",
        tmp=tmp_path,
        monkeypatch=monkeypatch,
        caplog=caplog,
        capsys=capsys,
        told=[],
    )
    made.connection()
    return made


SCENARIOS: list[tuple[Callable[[Workspace], None], tuple[str, ...]]] = []


def provokes(*parts: str) -> Callable[[Callable[[Workspace], None]], Callable[[Workspace], None]]:
    """Say which messages a scenario ends in, each by a part of it."""

    def keep(scenario: Callable[[Workspace], None]) -> Callable[[Workspace], None]:
        SCENARIOS.append((scenario, parts))
        return scenario

    return keep


@provokes(
    "is not defined: create it with the type",
    "has no API key",
    "that no key has",
    "white space around the API key",
    "its proxy, the proxy variables",
    "extra field 'verify'",
    "extra field ... is unknown",
    "the extra is not a JSON object",
    "plain http would send",
    "the host is neither a URL",
    "names two paths",
)
def connections_that_cannot_be_used(workspace: Workspace) -> None:
    workspace.attempt(PerfectlyClearHook("nowhere").get_conn)
    certificate = workspace.tmp / "ca.pem"
    certificate.write_text("no certificate")
    for fields in (
        {"password": ""},
        {"password": "two words"},
        {"password": f"{KEY}\n"},
        {"extra": {"verify": "/no/such/ca.pem"}},
        {"extra": {"verify": str(certificate)}},
        {"extra": {"time_out": 3}},
        {"extra": "[1]"},
        {"host": "http://api.example.com"},
        {"host": "ftp://api.example.com"},
        {"host": "api.example.com/v2", "schema": "v3"},
    ):
        workspace.connection(**fields)
        workspace.attempt(PerfectlyClearHook(CONN_ID).get_conn)


@provokes(
    "the host's name is not known (DNS)", "The service cannot be reached at", "the connection was refused"
)
def a_service_that_cannot_be_reached(workspace: Workspace) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        workspace.connection(host=f"http://127.0.0.1:{free.getsockname()[1]}/v2")
    workspace.presets()
    workspace.test_connection()

    def unknown(*args: Any, **kwargs: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    workspace.connection(host="https://api.example.invalid/v2")
    with workspace.monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", unknown)
        workspace.presets()


@provokes("no connection in time", "the proxy refused", "no response in time.")
def a_network_that_swallows_requests(workspace: Workspace) -> None:
    for kind in (httpx.ConnectTimeout, httpx.ProxyError, httpx.ReadTimeout):

        def fail(*args: Any, kind: type[Exception] = kind, **kwargs: Any) -> None:
            raise kind("in the network")

        with workspace.monkeypatch.context() as patch:
            patch.setattr(httpx.Client, "stream", fail)
            workspace.presets()


@provokes(
    "self-signed certificate",
    "TLS: ...",
    "Check the host: the certificate belongs to another host",
    "Check host and port: the port may not use TLS",
)
def a_self_signed_certificate(workspace: Workspace) -> None:
    certificate, key = self_signed(workspace.tmp)
    with running_emulator(certificate=certificate, certificate_key=key, key=KEY) as emulator:
        workspace.connection(host=emulator.base_url)
        workspace.presets()
        workspace.test_connection()
        elsewhere = emulator.base_url.replace("127.0.0.1", "localhost")
        workspace.connection(host=elsewhere, extra={"verify": str(certificate)})
        workspace.presets()
    workspace.connection(host=workspace.service.base_url.replace("http://", "https://"))
    workspace.presets()


@provokes(
    "the API key is refused (HTTP 401)",
    "denies access to this API key or address (HTTP 403)",
    "the service asks for payment (HTTP 402)",
    "HTTP 503",
    "HTML, not JSON",
    "HTTP 302: a redirect",
    "status is missing (HTTP 200)",
    "the API key (the password) is wrong",
    "A server answers at",
    "accepted the API key",
)
def what_the_service_answers(workspace: Workspace) -> None:
    workspace.test_connection()
    for status in (401, 402, 403, 503, 302):
        workspace.answer(
            "presets", status, headers={"Location": "https://other.example"} if status == 302 else {}
        )
        workspace.presets()
        if status in (401, 302):
            workspace.test_connection()
        workspace.service.clear_faults()
    workspace.service.fault("presets", {"garble": "html"})
    workspace.presets()
    with PerfectlyClearHook(CONN_ID) as hook:
        job_id = hook.start(hook.upload(picture()))
        workspace.service.fault("status", {"remove": ["status"]})
        workspace.attempt(lambda: hook.status(job_id))


@provokes("429 (too many requests) 10 times in a row")
def a_service_that_lets_nothing_through(workspace: Workspace) -> None:
    workspace.monkeypatch.setattr("airflow_provider_perfectlyclear.api.retry.backoff", lambda *args: 0.01)
    workspace.monkeypatch.setattr("airflow_provider_perfectlyclear.api.limiter.HOPELESS", 2)
    workspace.answer("presets", 429)
    workspace.connection(extra={"requests_per_second": 1000})  # a pace of its own: the others must not wait
    workspace.presets()


@provokes(
    "The service refused to start the first picture",
    "GET /pfc: HTTP 400",
    "is not among the account's presets",
)
def an_unknown_preset(workspace: Workspace) -> None:
    workspace.answer("pfc", 400, json={"error": "unknown preset"})
    workspace.catalog(correction={"preset": "Studoi"})
    workspace.one()


@provokes("GET /pfc: HTTP 404: ...; a retry uploads it anew")
def an_upload_that_is_not_accepted(workspace: Workspace) -> None:
    workspace.service.fault(
        {"route": "pfc", "nth": 2}, {"answer": {"status": 404, "json": {"error": "no such file"}}}
    )
    workspace.catalog()


@provokes(
    "is empty: name a folder",
    "is a relative path",
    "is a local path, but connection",
    "nothing is ever overwritten at the source",
    "a source is never overwritten",
    "does not lie in source_root",
    "No installed provider opens",
    "Connection ... of ...://... is not defined",
    "destination ... is a folder: end it with a slash",
    "The folder ... cannot be made",
    "is a file: name the folder",
    "source ... is a folder: name a file",
    "destination ... cannot be a folder",
    "state_path ... cannot be a folder",
)
def places_that_cannot_be_meant(workspace: Workspace) -> None:
    workspace.catalog(destination="")
    workspace.catalog(source="relative")
    workspace.catalog(destination_conn_id="aws")
    workspace.catalog(destination=str(workspace.photos))
    workspace.one(destination=f"{workspace.photos}/")
    workspace.one(destination=f"{workspace.photos}/b")
    workspace.one(source=str(workspace.photos))
    workspace.start(source=str(workspace.photos))
    workspace.catalog(destination=f"{workspace.photos}/a.jpg")
    workspace.catalog(state_path=f"{workspace.photos}/a.jpg")
    workspace.catalog(source=f"{workspace.photos}/a.jpg")
    workspace.catalog(source=["/a/b.jpg"], source_root="/c")
    workspace.catalog(destination="gs://google@bucket/x")
    workspace.catalog(destination="s3://misspelt@bucket/x")
    workspace.attempt(LocalStore(workspace.photos / "a.jpg" / "x").prepare)


@provokes("no space left", "... cannot be written: ...", "cannot be created")
def a_destination_that_is_full_or_denied(workspace: Workspace) -> None:
    for function in ("replace", "link"):
        for number in (errno.ENOSPC, errno.EACCES):

            def refuse(*args: Any, number: int = number) -> None:
                raise OSError(number, os.strerror(number))

            with workspace.monkeypatch.context() as patch:
                patch.setattr(os, function, refuse)
                workspace.catalog()


@provokes("temporary folder ... cannot be written", "temporary folder ... cannot be read")
def a_worker_without_room(workspace: Workspace) -> None:
    for use in (spool.writing, spool.reading):

        def fail(use: Any = use) -> None:
            with use(workspace.tmp / "no such folder" / "file" / "x"):
                raise AssertionError("it was opened")

        workspace.attempt(fail)


@provokes("Deferring...", "Woken up:", "Waiting for ... jobs, for")
def a_long_wait(workspace: Workspace) -> None:
    workspace.monkeypatch.setattr(
        "airflow_provider_perfectlyclear.catalog.engine.waiting.WORTH_DEFERRING", 0.0
    )
    workspace.catalog(deferrable=True)


@provokes("cannot be listed", "... cannot be read: ...")
def a_source_that_is_denied(workspace: Workspace) -> None:
    def denied(*args: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with workspace.monkeypatch.context() as patch:
        patch.setattr(os, "scandir", denied)
        workspace.catalog()
    store = LocalStore(workspace.photos)
    with workspace.monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", denied)
        workspace.attempt(lambda: store.read("a.jpg"))


@provokes(
    "Correction field ... is unknown",
    "Correction field 'output_quality'",
    "Correction fields width and long",
    "Correction field 'bg_color'",
    "is not a JSON object; a template",
    "files are looked for in the folder of the Dag's file",
    "correction and renditions exclude each other",
    "reprocess='all'",
    "max_failures='many'",
    "shard='17/16'",
    "destination is None",
    "Give either source or file_key",
    "job_ids is",
    "... is None: did an upstream task return nothing? Name a folder",
    "source has None among its files",
    "job_id is None",
    "name is None",
    "is not templated, so it cannot be a template",
    "... is text: give",
    "has braces, which match only themselves",
    "Correction field 'preset' must be",
)
def arguments_that_cannot_be_meant(workspace: Workspace) -> None:
    for correction in (
        {"removeBG": True},
        {"output_quality": 101},
        {"width": 100, "long": 100},
        {"bg_color": "red"},
        "{'preset': 'Vivid'}",
        "{{ params.look }}.json",
    ):
        workspace.catalog(correction=correction)
    workspace.catalog(renditions={"a": {}}, correction={})
    workspace.catalog(reprocess="all")
    workspace.catalog(max_failures="many")
    workspace.catalog(shard="17/16")
    workspace.one(destination=None)
    workspace.start()
    workspace.start(source="/a.jpg", file_key="key")
    workspace.catalog(source="None")
    workspace.catalog(source=["None"], source_root=str(workspace.photos))
    workspace.catalog(limit="{{ params.limit }}")
    workspace.catalog(limit="20")
    workspace.catalog(pattern="*.{jpg,png}")
    workspace.catalog(correction={"preset": 7})
    workspace.preset("Upload", name="None", file="/a.preset")
    with PerfectlyClearHook(CONN_ID) as hook:
        workspace.attempt(lambda: hook.download("None", f"{workspace.out}/"))
    workspace.attempt(lambda: run(PerfectlyClearJobSensor(task_id="wait", job_ids=[None])))


@provokes(
    "The plan needs ... (...) and max_new_jobs allows",
    "existing or paid outputs in ... would be paid for again",
    "No picture was found in",
    "There is no folder",
    "Without plan_only this run would be refused",
)
def plans_that_are_refused(workspace: Workspace) -> None:
    workspace.catalog(max_new_jobs=1)
    workspace.catalog(max_new_jobs=1, plan_only=True)
    workspace.catalog(source=str(workspace.tmp / "nowhere"))
    (workspace.tmp / "empty").mkdir()
    workspace.catalog(source=str(workspace.tmp / "empty"))
    source, destination = workspace.tmp / "many", workspace.tmp / "made"
    for folder in (source, destination):
        folder.mkdir()
        for number in range(21):
            (folder / f"{number}.jpg").write_bytes(picture())
    workspace.catalog(source=str(source), destination=str(destination))


@provokes("is locked by dag", "Another run took the lock")
def two_owners(workspace: Workspace) -> None:
    state = LocalStore(workspace.out).child(".perfectlyclear")
    owner = Ledger(state, "all", run="one", title="dag 'nightly' run 'scheduled__1'")
    owner.take()
    other = Ledger(state, "all", run="two", title="another")
    other.load()
    owner.append([])
    workspace.attempt(lambda: wait_for_owner(other, lambda seconds: None))
    other.load()
    other.take()
    workspace.attempt(lambda: owner.append([]))


@provokes(
    "is missing. Nothing was paid",
    "cannot be read (...). Nothing was paid",
    "another version of this package",
)
def records_that_are_damaged(workspace: Workspace) -> None:
    for number, damage in enumerate(
        (
            lambda path: path.unlink(),
            lambda path: path.write_text("{"),
            lambda path: path.write_text('{"v": 99}\n'),
        )
    ):
        state = LocalStore(workspace.tmp / f"state{number}")
        owner = Ledger(state, "all", run="one", title="one")
        owner.take()
        owner.append([])
        owner.append([])
        (segment,) = (workspace.tmp / f"state{number}").rglob("00000002.jsonl")
        damage(segment)
        workspace.attempt(lambda state=state: read_lane(state, "all"))


@provokes("is not in the ledger")
def forgetting_what_is_not_known(workspace: Workspace) -> None:
    command_line.main(["ledger", "forget", str(workspace.out), "x.jpg"])


@provokes(
    "These failures are permanent: retries do not help",
    "the file is empty",
    "its first bytes are those",
    "is not a plain relative path",
    "rename or exclude all but one",
    "change name_template",
    "a part of the name",
    "more NAME_COLLISION; the manifest names all",
)
def pictures_that_are_none(workspace: Workspace) -> None:
    workspace.monkeypatch.setattr(notes, "FAILURES_NAMED", 1)
    (workspace.photos / "empty.jpg").write_bytes(b"")
    (workspace.photos / "text.jpg").write_text("no picture")
    workspace.catalog()
    (workspace.photos / "A.jpg").write_bytes(picture("red"))
    workspace.catalog(name_template="{stem}.jpg")
    workspace.catalog(pattern="[aA].*", destination=str(workspace.tmp / "other"))
    for name in ("../x.jpg", "x" * 300 + ".jpg"):
        workspace.attempt(lambda name=name: check_name(name))


@provokes(
    "A retry asks only for these",
    "when its time was up",
    "is unknown and taken as still open",
    "the service no longer knows the job",
)
def jobs_that_do_not_end_well(workspace: Workspace) -> None:
    workspace.monkeypatch.setattr("airflow_provider_perfectlyclear.api.polling.LOST_AFTER", 0.3)
    workspace.service.fault("pfc", {"outcome": "lost"})
    workspace.service.fault({"route": "pfc", "nth": 2}, {"outcome": "stuck"})
    workspace.service.fault({"route": "pfc", "nth": 3}, {"outcome": {"status": "ARCHIVED"}})
    workspace.catalog(job_timeout=2)


@provokes("changed or vanished")
def a_source_that_vanishes(workspace: Workspace) -> None:
    def gone(*args: Any) -> None:
        raise FileNotFoundError

    workspace.monkeypatch.setattr(LocalStore, "open", gone)
    workspace.catalog()


@provokes(
    "the corrected file's first bytes",
    "was asked for, png came",
    "width 1200",
    "the store answered HTTP 500",
    "the store answered HTTP 403",
    "names no correctedFile",
    "broke off after ... bytes",
    "which is a private address",
)
def results_that_are_wrong(workspace: Workspace) -> None:
    def tried(number: int, *fault: Any, **kwargs: Any) -> None:
        workspace.service.clear_faults()
        if fault:
            workspace.service.fault(*fault, times=None)
        workspace.one(destination=f"{workspace.out}/{number}.jpg", **kwargs)

    tried(1, "download", {"body": "no picture"})
    png = picture_of("PNG")
    tried(2, "download", {"body": {"base64": png}}, correction={"output_type": "jpg"})
    tried(3, "download", {"body": {"base64": png}}, correction={"width": 1200})
    tried(4, "put", {"answer": {"status": 500}})
    tried(5, "download", {"answer": {"status": 403}})
    tried(6, "pfc", {"outcome": "no_file"})
    tried(8, "download", {"close": {"when": "answering", "after": 100}})
    tried(7, "status", {"origin": "https://10.0.0.1"})


def picture_of(kind: str) -> str:
    file = io.BytesIO()
    Image.new("RGB", (96, 64), "teal").save(file, kind)
    return base64.b64encode(file.getvalue()).decode()


@provokes("the corrected file is a png", "the corrected file is identical to the source")
def results_that_are_odd(workspace: Workspace) -> None:
    (workspace.photos / "a.jpg").write_bytes(base64.b64decode(picture_of("PNG")))
    workspace.catalog(correction={"preset": "none"})


@provokes(
    "... is empty",
    "the first bytes are those of no picture or video",
    "... is not there",
    "there is no file",
    "but the file's first bytes are those of type",
    "Starting a correction of file key",
)
def sources_of_single_steps(workspace: Workspace) -> None:
    (workspace.photos / "empty.jpg").write_bytes(b"")
    (workspace.photos / "text.jpg").write_text("no picture")
    for name in ("a.jpg", "empty.jpg", "text.jpg", "gone.jpg"):
        workspace.start(source=f"{workspace.photos}/{name}")
    workspace.one(source=f"{workspace.photos}/gone.jpg")
    workspace.one(file_type="video")


@provokes(
    "The job may be running and paid for; the call was not sent again",
    'it may have been paid. on_ambiguous="restart"',
    "The next try asks once more",
    "was started by an earlier try",
    "and so was the answer to asking once more",
    "the time was up before it could be asked about",
    "An earlier try recorded no response to its paid call",
    "possibly_paid_twice=",
    "which was started for the earlier content of",
    "has bytes again that were started and replaced before",
)
def unconfirmed_starts(workspace: Workspace) -> None:
    workspace.service.fault("pfc", {"reset": "committed"})
    workspace.catalog(on_ambiguous="fail")
    workspace.service.fault("pfc", {"reset": "committed"})
    for _ in range(3):
        job_id = workspace.start(source=f"{workspace.photos}/a.jpg", state_path=str(workspace.tmp / "state"))
    first = (workspace.photos / "a.jpg").read_bytes()
    (workspace.photos / "a.jpg").write_bytes(picture("red"))
    named = {"statusEndpoint": f"{workspace.service.base_url}/status/{job_id}"}
    workspace.service.fault("pfc", {"answer": {"status": 200, "json": named}})
    workspace.start(source=f"{workspace.photos}/a.jpg", state_path=str(workspace.tmp / "state"))
    (workspace.photos / "a.jpg").write_bytes(first)
    workspace.start(source=f"{workspace.photos}/a.jpg", state_path=str(workspace.tmp / "state"))
    for finally_over in (lambda lost: lost.settle(1.0, 0.0)[1], lambda lost: lost.give_up()):
        lost = starts.Unconfirmed("auto", Board())
        row = LedgerRow("a.jpg", State.INTENT, file_key="key")
        lost.lost(row, 0.0)
        if lost.settle(1.0, 0.0)[0]:
            lost.lost(row, 0.0)
        workspace.told += [each.reason for each in finally_over(lost)]


@provokes("This triggerer does not know")
def a_trigger_of_another_version(workspace: Workspace) -> None:
    workspace.attempt(
        lambda: first_event(PerfectlyClearJobsTrigger(CONN_ID, ["a"], deadline=0.0, something=1))
    )


@provokes("Jobs are still in progress after", "without a corrected file")
def a_sensor_that_gives_up(workspace: Workspace) -> None:
    workspace.service.fault("pfc", {"outcome": "stuck"})
    workspace.service.fault({"route": "pfc", "nth": 2}, {"outcome": "FAILED"})
    for name in ("a.jpg", "b/c.jpg"):
        job_id = workspace.start(source=f"{workspace.photos}/{name}")
        sensor = PerfectlyClearJobSensor(
            task_id="wait", job_ids=job_id, perfectlyclear_conn_id=CONN_ID, timeout=1, deferrable=True
        )
        workspace.attempt(lambda sensor=sensor: run(sensor))


@provokes(
    "not found; did you mean",
    "already exists",
    "Give either preset_id or name",
    "its content cannot be compared",
    "is listed, but its file is not there now",
    "was among the account's presets",
    "had a file when this ledger last saw it",
    "came a web page",
)
def presets_that_cannot_be_had(workspace: Workspace) -> None:
    file = workspace.tmp / "studio.preset"
    file.write_bytes(b"one")
    workspace.preset("Upload", name="Studio 7", file=str(file))
    workspace.preset("Get", name="studio 7")
    workspace.preset("Get")
    file.write_bytes(b"two")
    workspace.preset("Upload", name="Studio 7", file=str(file))
    workspace.catalog(correction={"preset": "Studio 7"})
    workspace.service.fault("preset", {"answer": {"status": 404, "body": "no"}})
    workspace.catalog(correction={"preset": "Studio 7"})
    workspace.service.fault("presets", {"set": {"presets": []}})
    workspace.catalog(correction={"preset": "Studio 7"})
    workspace.service.fault("preset", {"remove": "uri"})
    workspace.catalog(correction={"preset": "Studio 7"})
    workspace.service.fault("preset_get_file", {"answer": {"status": 200, "body": "<html>"}})
    workspace.catalog(correction={"preset": "Studio 7"})
    workspace.monkeypatch.setattr("airflow_provider_perfectlyclear.catalog.presets.MAX_PRESET", 1)
    workspace.catalog(correction={"preset": "Studio 7"})


@pytest.mark.parametrize(("scenario", "parts"), SCENARIOS, ids=[each[0].__name__ for each in SCENARIOS])
def test_messages_are_said_as_they_are_quoted(scenario, parts, workspace):
    scenario(workspace)
    said = workspace.said
    missing = [m for part in parts for m in whole(part) if not any(says(each, m) for each in said)]
    assert not missing, "\n".join(["not said:", *missing, "", "said:", *said])


# ---- the others


@pytest.mark.parametrize("part", sorted(FROM_SOURCE))
def test_a_message_that_is_not_provoked_is_one_of_the_source(part):
    for message in whole(part):
        assert any(is_in_source(each, PACKAGE) for each in _tails(message)), message


def _tails(message: str) -> list[str]:
    """The message, and what is left of it without what it is put in front of: ``Connection ...: ...: ``."""
    return [message, *(message.split("...: ", count)[-1] for count in (1, 2))]


def test_every_message_of_the_page_is_provoked_or_found():
    covered = {message for _, parts in SCENARIOS for part in parts for message in whole(part)}
    covered |= {message for part in FROM_SOURCE for message in whole(part)}
    assert set(MESSAGES) == covered


AIRFLOWS = (
    "airflow.sdk.bases.operator",
    "airflow.sdk.definitions.connection",
    "airflow.sdk.execution_time.supervisor",
    "airflow.jobs.scheduler_job_runner",
    "airflow.jobs.triggerer_job_runner",
    "airflow.api_fastapi.core_api.routes.public.connections",
    "airflow.serialization.definitions.dag",
    "airflow.providers.amazon.aws.hooks.base_aws",
)


@pytest.mark.parametrize("message", MESSAGES_OF_AIRFLOW)
def test_what_airflow_says_is_in_airflows_source(message):
    installed = Path(airflow.__file__).parents[1]  # not imported: that alone takes seconds
    files = [installed.joinpath(*module.split(".")).with_suffix(".py") for module in AIRFLOWS]
    begins = max(message.split("..."), key=len)[:15]
    likely = [file for file in files if begins in file.read_text()]  # parsing all of them takes seconds
    assert is_in_source(message, *likely) if likely else False, message


def test_every_reason_code_is_on_the_page_and_is_called_final_if_it_is_permanent():
    text = text_of(PAGE)
    assert {reason for reason in Reason if f"`{reason}`" not in text} == set()
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| `")]
    told = {
        code: row[2]
        for row in rows
        if len(row) > 3
        for code in re.findall(r"`([A-Z_]+)`", row[0])
        if code in set(Reason)
    }
    assert len(told) > 30
    of_a_run = {code for code, kind in told.items() if kind == "of single steps"}
    assert {code for code, kind in told.items() if kind == "final"} == PERMANENT & told.keys() - of_a_run


@pytest.mark.parametrize(
    "altered",
    [
        "Connection ... has no API key: put it in the user name.",
        "... jobs are wanted (...) and max_new_jobs allows ...; nothing was started.",
        "the store's ETag is the MD5 of what was sent",
    ],
)
def test_a_message_that_is_not_in_the_source_is_not_found(altered):
    assert not is_in_source(altered, PACKAGE)
