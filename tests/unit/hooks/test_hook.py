"""The hook: every step by itself, against the service."""

from __future__ import annotations

import asyncio
import copy
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_provider_perfectlyclear import errors
from airflow_provider_perfectlyclear.api import calls
from airflow_provider_perfectlyclear.api.models import JobState
from airflow_provider_perfectlyclear.hooks.perfectlyclear import PerfectlyClearHook
from tests.support.account import CONN_ID, picture
from tests.support.tasks import requests_of


@pytest.fixture
def hook(service):
    with PerfectlyClearHook(CONN_ID) as hook:
        yield hook


@pytest.mark.parametrize("form", ["bytes", "path", "text", "open file", "pipe"])
def test_a_picture_goes_up_is_corrected_and_comes_down_whatever_form_it_is_handed_over_in(
    form, hook, service, tmp_path
):
    path = tmp_path / "in.jpg"
    path.write_bytes(picture())
    if form in ("bytes", "path", "text"):
        file_key = hook.upload({"bytes": path.read_bytes(), "path": path, "text": str(path)}[form])
    else:
        with path.open("rb") as file:
            file_key = hook.upload(_Pipe(file.read()) if form == "pipe" else file)
    job_id = hook.start(file_key, {"output_type": "png"})
    assert hook.wait(job_id, poll_interval=0.1).state is JobState.COMPLETED
    assert hook.download(job_id, tmp_path / "new folder" / "out.png") == str(
        tmp_path / "new folder" / "out.png"
    )
    assert (tmp_path / "new folder" / "out.png").read_bytes().startswith(b"\x89PNG")
    assert service.bill()["billed"] == 1


class _Pipe(io.RawIOBase):
    """Readable once, from the front only."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self):
        return True

    def read(self, size=-1):
        return self._data.read(size)


def test_what_was_uploaded_as_a_video_is_started_as_one(hook, service):
    """The service refuses a start whose type is not that of the upload."""
    film = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + b"\0\0\0\x08free" * 8
    job_id = hook.start(hook.upload(film, file_type="video"), {"output_type": None})
    assert hook.wait(job_id, poll_interval=0.1).state is JobState.COMPLETED
    assert service.bill()["entries"][0]["settings"]["fileType"] == "video"


def test_a_download_into_an_open_file_leaves_nothing_else(hook, tmp_path):
    job_id = hook.start(hook.upload(picture()))
    hook.wait(job_id, poll_interval=0.1)
    sink = io.BytesIO()
    assert hook.download(job_id, sink) is None
    assert sink.getvalue().startswith(b"\xff\xd8")


def test_waiting_for_many_returns_every_end_in_the_order_given(hook):
    good, bad = hook.upload(picture()), hook.upload(b"no picture at all")
    jobs = [hook.start(bad), hook.start(good)]
    ends = hook.wait_all(jobs, poll_interval=0.1)
    assert list(ends) == jobs
    assert [end.state for end in ends.values()] == [JobState.REJECTED, JobState.COMPLETED]
    with pytest.raises(errors.JobRejected):
        hook.download(jobs[0], io.BytesIO())


def test_waiting_for_a_job_that_the_service_does_not_know_says_so(hook, service):
    with pytest.raises(errors.JobTimeout) as late:
        hook.wait("unknown-job", timeout=0.5, poll_interval=0.1)
    assert str(late.value) == (
        "Job unknown-job TIMEOUT: the service does not know the job (404) after 0.5 s. Check the job id, or wait for "
        "longer"
    )
    service.fault("pfc", {"outcome": "stuck"})
    job_id = hook.start(hook.upload(picture()))
    says = f"Job {job_id} TIMEOUT: still in progress after 0.5 s, as 1 of 2 jobs; 1 unknown to the service \\(404\\)"
    with pytest.raises(errors.JobTimeout, match=says):
        hook.wait_all(["unknown-job", job_id], timeout=0.5, poll_interval=0.1)


def test_waiting_ends_in_time_and_names_the_job(hook, service):
    service.fault("pfc", {"outcome": "stuck"})
    job_id = hook.start(hook.upload(picture()))
    with pytest.raises(
        errors.JobTimeout, match=f"Job {job_id} TIMEOUT: still in progress after 0.5 s"
    ) as late:
        hook.wait(job_id, timeout=0.5, poll_interval=0.1)
    assert late.value.job_id == job_id


def test_a_lost_answer_to_start_is_told_and_not_sent_again(hook, service):
    file_key = hook.upload(picture())
    service.fault("pfc", {"reset": "committed"})
    with pytest.raises(errors.StartUnknown) as lost:
        hook.start(file_key)
    assert lost.value.file_key == file_key
    assert service.bill()["billed"] == 1 and service.unconsumed() == []


def test_a_wrong_correction_is_refused_before_any_request(hook, service):
    with pytest.raises(errors.InvalidCorrection, match="did you mean 'remove_background'"):
        hook.start("key", {"removeBG": True})
    assert not requests_of(service)


@pytest.mark.parametrize("source", [b"", "/no/such/file.jpg", "relative.jpg", "/tmp/"])
def test_what_cannot_be_uploaded_is_refused_before_any_request(source, hook, service):
    with pytest.raises(errors.PerfectlyClearError):
        hook.upload(source)
    assert not requests_of(service)


def test_correct_does_it_all_and_a_repeated_call_pays_nothing(hook, service, photos, tmp_path):
    first = hook.correct(photos / "a.jpg", f"{tmp_path}/out/")
    again = hook.correct(photos / "a.jpg", f"{tmp_path}/out/")
    assert first.destination == again.destination == str(tmp_path / "out" / "a.jpg")
    assert Path(first.destination).stat().st_size == first.size
    assert first.job_id == again.job_id and service.bill()["billed"] == 1


def test_the_asynchronous_client_asks_without_a_thread(hook):
    job_id = hook.start(hook.upload(picture()))

    async def ask():
        async with await hook.async_client() as client:
            return await client.send(calls.status(job_id))

    assert asyncio.run(ask()).job_id == job_id


def test_presets_are_made_found_replaced_fetched_and_deleted(hook, service, tmp_path):
    file = tmp_path / "studio.preset"
    file.write_bytes(b"first")
    made = hook.upload_preset("Studio 7", file, "for portraits")
    assert hook.upload_preset("Studio 7", file).preset_id == made.preset_id  # the same content: no write
    assert hook.find_preset("Studio 7").preset_id == made.preset_id
    assert hook.find_preset("studio 7") is None
    assert hook.upload_preset("Studio 7", b"second", if_exists="skip").preset_id == made.preset_id
    with pytest.raises(errors.ConfigurationError, match="'Studio 7' already exists"):
        hook.upload_preset("Studio 7", b"second")
    replaced = hook.upload_preset("Studio 7", b"second", if_exists="replace")
    assert [preset.preset_id for preset in hook.iter_presets() if preset.name == "Studio 7"] == [
        replaced.preset_id
    ]
    assert hook.download_preset(replaced.preset_id, tmp_path / "got.preset") == str(tmp_path / "got.preset")
    assert (tmp_path / "got.preset").read_bytes() == b"second"
    hook.delete_preset(replaced.preset_id)
    with pytest.raises(errors.NotFound):
        hook.get_preset(replaced.preset_id)


def test_a_preset_whose_upload_fails_is_removed_again(hook, service):
    service.fault("preset_put", {"answer": {"status": 400}}, times=None)
    with pytest.raises(errors.PerfectlyClearError):
        hook.upload_preset("Half", b"content")
    assert service.presets() == []


def test_threads_that_share_a_hook_share_one_client(hook):
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: hook.get_conn(), range(64)))
    assert len(set(map(id, made))) == 1


def test_a_hook_can_be_copied_with_the_operator_that_keeps_it():
    assert copy.deepcopy(PerfectlyClearHook(CONN_ID)).perfectlyclear_conn_id == CONN_ID


# ---- waiting and fetching, at the edges


@pytest.mark.parametrize(("jobs", "timeout", "poll_interval"), [(3, 0, 2.0), (1, 4.0, 2.5)])
def test_before_a_job_is_called_open_it_is_asked_once_more(hook, service, jobs, timeout, poll_interval):
    ids = [hook.start(hook.upload(picture()), {"cache": False}) for _ in range(jobs)]
    if not timeout:
        hook.wait_all(ids, poll_interval=0.1)
    else:  # open when it is asked first and (after 2.5 to 3 s) again; the next question would come too late
        service.fault("status", {"patch": {"status": "PROCESSING", "correctedFile": None}}, times=2)
    found = hook.wait_all(ids, timeout=timeout, poll_interval=poll_interval)
    assert [status.state for status in found.values()] == [JobState.COMPLETED] * jobs


@pytest.mark.parametrize("given", [{"timeout": None}, {"timeout": "5"}, {"poll_interval": "1"}])
def test_a_time_that_is_none_is_named(hook, service, given):
    (name,) = given
    with pytest.raises(errors.ConfigurationError, match=f"{name} is .*: give a number of seconds"):
        hook.wait_all([], **given)
    if name == "timeout":
        with pytest.raises(errors.ConfigurationError, match=r"timeout.*number"):
            hook.correct("/in/a.jpg", "/out/", **given)
    assert service.bill()["accepted"] == 0


def test_an_open_job_has_nothing_to_fetch_yet(hook, service, tmp_path):
    service.fault("pfc", {"outcome": "stuck"})
    job_id = hook.start(hook.upload(picture()))
    with pytest.raises(errors.JobTimeout, match="is PROCESSING and has no result yet"):
        hook.download(job_id, tmp_path / "a.jpg")
    assert not list(tmp_path.iterdir())


def test_a_folder_in_the_place_of_the_output_is_noticed_before_anything_is_paid(hook, service, tmp_path):
    (tmp_path / "a.jpg").write_bytes(picture())
    (tmp_path / "out").mkdir()
    with pytest.raises(errors.ConfigurationError, match="out is a folder: end it with a slash"):
        hook.correct(tmp_path / "a.jpg", tmp_path / "out")
    assert service.bill()["accepted"] == 0


def test_places_may_be_airflows_paths(hook, tmp_path):
    (tmp_path / "a.jpg").write_bytes(picture())
    (tmp_path / "a.preset").write_bytes(b"warm")
    folder = ObjectStoragePath(f"file://{tmp_path}")
    job_id = hook.start(hook.upload(folder / "a.jpg"))
    hook.wait(job_id, poll_interval=0.1)
    assert hook.download(job_id, folder / "b.jpg") == f"{tmp_path}/b.jpg"
    made = hook.upload_preset("Studio 7", folder / "a.preset")
    hook.download_preset(made.preset_id, folder / "b.preset")
    assert (tmp_path / "b.preset").read_bytes() == b"warm"
    with pytest.raises(errors.ConfigurationError, match="file is None: did an upstream task return nothing"):
        hook.upload_preset("Studio 7", None)


def test_what_is_no_picture_is_named(hook, tmp_path):
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(errors.InvalidSource, match=f"^{tmp_path}/text.jpg: its first bytes are those of no"):
        hook.correct(tmp_path / "text.jpg", tmp_path / "out.jpg")
    with pytest.raises(errors.ConfigurationError, match=f"source {tmp_path} is a folder: name a file"):
        hook.upload(tmp_path)


# ---- presets, when something goes wrong


def test_a_deletion_whose_answer_is_lost_has_deleted(hook, service):
    made = hook.upload_preset("Studio 7", b"cold")
    service.fault("preset_delete", {"reset": "committed"})
    hook.delete_preset(made.preset_id)
    with pytest.raises(errors.NotFound):
        hook.delete_preset(made.preset_id)

    hook.upload_preset("Studio 7", b"cold")
    service.fault("preset_delete", {"reset": "committed"})
    hook.upload_preset("Studio 7", b"warm", if_exists="replace")
    assert len(list(hook.iter_presets())) == 1


@pytest.mark.parametrize("if_exists", ["fail", "replace"])
def test_content_that_cannot_be_compared_is_not_called_different(hook, service, monkeypatch, if_exists):
    hook.upload_preset("Studio 7", b"cold")
    service.fault("preset_get_file", {"answer": {"status": 503}}, times=None)
    with pytest.raises(errors.TransferFailed):
        hook.upload_preset("Studio 7", b"cold", if_exists=if_exists)
    assert len(list(hook.iter_presets())) == 1

    service.clear_faults()
    service.fault("preset", {"expired": True}, times=2)  # the look whether it is whole, and the first address
    assert hook.upload_preset("Studio 7", b"cold", if_exists=if_exists).name == "Studio 7"
    assert len(list(hook.iter_presets())) == 1


@pytest.mark.parametrize("if_exists", ["fail", "skip", "replace"])
@pytest.mark.parametrize("known", [False, True])
def test_a_half_made_preset_that_is_listed_is_made_anew(hook, service, if_exists, known):
    half = hook.get_conn().send(calls.create_preset("Studio 7")).preset_id
    listed = {"presetId": half, "name": "Studio 7", "description": ""}
    service.fault("presets", {"answer": {"status": 200, "json": {"presets": [listed]}}})
    if known:
        service.fault("preset", {"answer": {"status": 200, "json": listed}})
    made = hook.upload_preset("Studio 7", b"warm", if_exists=if_exists)
    assert [preset.preset_id for preset in hook.iter_presets()] == [made.preset_id] != [half]
    assert [preset["uploaded"] for preset in service.presets()] == [True]


@pytest.mark.parametrize(
    "fault", [("preset", {"answer": {"status": 404}}), ("preset_get_file", {"answer": {"status": 404}})]
)
def test_a_preset_whose_file_is_not_there_for_a_moment_is_no_other_content(hook, service, tmp_path, fault):
    hook.upload_preset("Studio 7", b"cold")
    (tmp_path / "a.jpg").write_bytes(picture())
    given = (tmp_path / "a.jpg", f"{tmp_path}/out/", {"preset": "Studio 7"})
    first = hook.correct(*given)
    service.fault(*fault)
    with pytest.raises(errors.Unavailable, match="is listed, but its file is not there now"):
        hook.correct(*given)
    assert hook.correct(*given).job_id == first.job_id
    assert service.bill()["accepted"] == 1 and service.unconsumed() == []
