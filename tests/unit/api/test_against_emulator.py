"""The whole way of a picture against the emulator, whose bill and memory decide."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import time
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_perfectlyclear import errors
from airflow_provider_perfectlyclear.api import calls
from airflow_provider_perfectlyclear.api.client import AsyncClient, Client
from airflow_provider_perfectlyclear.api.models import Correction, JobState, JobStatus
from airflow_provider_perfectlyclear.api.settings import Settings

pytest.importorskip("starlette")
Image = pytest.importorskip("PIL.Image")

from airflow_provider_perfectlyclear.emulator.testing import Emulator, running_emulator  # noqa: E402
from airflow_provider_perfectlyclear.emulator.transport.request_log import digest_of  # noqa: E402

pytestmark = pytest.mark.usefixtures("impatient")


@pytest.fixture(scope="module")
def running() -> Iterator[Emulator]:
    with running_emulator() as one:
        yield one


@pytest.fixture
def emulator(running: Emulator) -> Iterator[Emulator]:
    running.reset()
    yield running
    assert running.unconsumed() == []


@pytest.fixture
def settings(emulator: Emulator) -> Settings:
    return Settings(api_key=emulator.key, base_url=emulator.base_url, name="pc", timeout=30.0)


@pytest.fixture
def client(settings: Settings) -> Iterator[Client]:
    with Client(settings) as one:
        yield one


@pytest.fixture(scope="module")
def picture() -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").resize((320, 240)).convert("RGB").save(out, "JPEG")
    return out.getvalue()


def upload(client: Client, data: bytes) -> str:
    return client.upload(lambda: io.BytesIO(data), size=len(data))


def finished(client: Client, job_id: str) -> JobStatus:
    deadline = time.monotonic() + 60
    while not (job := client.send(calls.status(job_id))).state.is_final:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return job


def test_a_picture_goes_there_and_back(client: Client, emulator: Emulator, picture: bytes) -> None:
    key = upload(client, picture)
    job_id = client.send(calls.start(key, Correction(width=160, include_detection_data=True)))
    job = finished(client, job_id)
    assert job.state is JobState.COMPLETED and job.corrected_file and job.usage and job.detection_data
    sink = io.BytesIO()
    assert client.download(job.corrected_file, sink).size == len(sink.getvalue())
    assert Image.open(sink).size == (160, 120)
    assert emulator.bill()["billed"] == 1


def test_the_key_is_seen_by_the_api_alone(client: Client, emulator: Emulator, picture: bytes) -> None:
    job = finished(client, client.send(calls.start(upload(client, picture))))
    assert job.corrected_file
    client.download(job.corrected_file, io.BytesIO())
    seen = emulator.seen()
    shown = digest_of(emulator.key)  # the key itself is never shown
    assert seen["api"]["api_keys"] == [shown] and seen["storage"]["api_keys"] == []
    assert emulator.key not in str(seen) and shown not in str(seen["storage"])


NO_ID = {"remove": ["statusEndpoint"]}


@pytest.mark.parametrize(
    "faults",
    [
        [{"reset": "committed"}],
        [NO_ID],
        [NO_ID, {"http_status": 502}],
        [{"garble": "html"}],
        [{"garble": "huge"}],
    ],
    ids=["reset", "no id", "502", "html", "huge"],
)
def test_the_client_never_repeats_a_lost_pfc(
    client: Client, emulator: Emulator, picture: bytes, faults: list[dict[str, Any]]
) -> None:
    key = upload(client, picture)
    emulator.fault("pfc", faults)
    with pytest.raises(errors.StartUnknown) as caught:
        client.send(calls.start(key))
    assert caught.value.file_key == key
    assert emulator.bill()["accepted"] == 1


@pytest.mark.parametrize(
    "kind", ["html", "null", "list", "empty", "cut_json", "huge", "not_utf8", "gzip_bomb"]
)
def test_garbled_answers_of_free_calls_are_asked_for_again(
    client: Client, emulator: Emulator, picture: bytes, kind: str
) -> None:
    emulator.fault("upload", {"garble": kind})
    emulator.fault("status", {"garble": kind})
    assert finished(client, client.send(calls.start(upload(client, picture)))).state is JobState.COMPLETED
    assert emulator.bill()["accepted"] == 1


def test_an_upload_that_breaks_off_is_sent_again(client: Client, emulator: Emulator, picture: bytes) -> None:
    emulator.fault("put", {"reset": "reading"})
    assert finished(client, client.send(calls.start(upload(client, picture)))).state is JobState.COMPLETED


def test_expired_urls_are_renewed_or_reported(client: Client, emulator: Emulator, picture: bytes) -> None:
    emulator.fault("upload", {"expired": True})
    job_id = client.send(calls.start(upload(client, picture)))
    finished(client, job_id)
    emulator.fault("status", {"expired": True})
    stale, fresh = (client.send(calls.status(job_id)).corrected_file or "" for _ in range(2))
    with pytest.raises(errors.UrlExpired):
        client.download(stale, io.BytesIO())
    assert client.download(fresh, io.BytesIO()).size
    assert emulator.bill()["accepted"] == 1


def test_a_rotated_key_is_taken_up_on_the_way(settings: Settings, emulator: Emulator, picture: bytes) -> None:
    emulator.set_key("another-key")
    renewed = dataclasses.replace(settings, api_key="another-key")
    try:
        with Client(settings, renew=lambda: renewed) as client:
            assert client.send(calls.start(upload(client, picture)))
    finally:
        emulator.set_key(settings.api_key)


def test_a_preset_lives_and_dies(client: Client, emulator: Emulator) -> None:
    target = client.send(calls.create_preset("Studio 7", "portraits"))
    client.put(target.upload_url, lambda: io.BytesIO(b"preset"), size=6)
    [listed] = client.send(calls.list_presets())
    assert (listed.preset_id, listed.name) == (target.preset_id, "Studio 7")
    found = client.send(calls.get_preset(target.preset_id))
    sink = io.BytesIO()
    assert found.uri
    client.download(found.uri, sink)
    assert sink.getvalue() == b"preset"
    client.send(calls.delete_preset(target.preset_id))
    with pytest.raises(errors.NotFound):
        client.send(calls.get_preset(target.preset_id))


def test_many_questions_share_one_loop(
    settings: Settings, client: Client, emulator: Emulator, picture: bytes
) -> None:
    job_id = client.send(calls.start(upload(client, picture)))
    finished(client, job_id)

    async def ask() -> list[JobStatus]:
        async with AsyncClient(settings) as one:
            return await asyncio.gather(*[one.send(calls.status(job_id)) for _ in range(200)])

    assert {job.state for job in asyncio.run(ask())} == {JobState.COMPLETED}
