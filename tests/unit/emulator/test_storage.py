from __future__ import annotations

import hashlib
import http.client
from urllib.parse import urlsplit

import httpx
import pytest


def put_url(caller) -> str:
    return str(caller.get("/upload").json()["upload_url"])


def test_api_and_storage_are_two_origins(emulator, caller):
    assert urlsplit(put_url(caller)).netloc == urlsplit(emulator.storage_url).netloc
    assert urlsplit(emulator.base_url).hostname != urlsplit(emulator.storage_url).hostname


def test_a_put_needs_no_content_type_and_answers_with_an_etag(caller, jpeg):
    answer = caller.http.put(put_url(caller), content=jpeg)
    assert (answer.status_code, answer.headers["content-length"]) == (200, "0")
    assert answer.headers["etag"] == f'"{hashlib.md5(jpeg).hexdigest()}"'


def test_a_chunked_put_is_not_implemented(caller):
    answer = caller.http.put(put_url(caller), content=iter([b"a", b"b"]))
    assert answer.status_code == 501
    assert "<Code>NotImplemented</Code>" in answer.text


def test_a_put_without_a_length_is_refused(caller):
    parts = urlsplit(put_url(caller))
    connection = http.client.HTTPConnection(parts.netloc)
    connection.putrequest("PUT", f"{parts.path}?{parts.query}")
    connection.endheaders()
    assert connection.getresponse().status == 411
    connection.close()


def test_a_signature_is_for_one_method_and_one_object(caller):
    first, second = put_url(caller), put_url(caller)
    other = first.replace(urlsplit(first).path, urlsplit(second).path)
    for answer in (caller.http.put(other, content=b""), caller.http.put(first.split("?")[0], content=b"")):
        assert answer.status_code == 403
        assert answer.headers["content-type"] == "application/xml"
    assert caller.http.get(first).status_code == 404


def test_a_signed_url_expires(started, jpeg):
    caller = started(url_seconds=0)
    answer = caller.http.put(put_url(caller), content=jpeg)
    assert answer.status_code == 403
    assert "Request has expired" in answer.text


def test_a_changed_expiry_does_not_help(started, jpeg):
    caller = started(url_seconds=0)
    url = httpx.URL(put_url(caller)).copy_set_param("Expires", "9999999999.000")
    answer = caller.http.put(url, content=jpeg)
    assert (answer.status_code, "SignatureDoesNotMatch" in answer.text) == (403, True)


def test_a_cut_upload_leaves_nothing(emulator, caller, jpeg):
    slot = caller.get("/upload").json()
    emulator.fault("put", {"reset": "reading"})
    with pytest.raises(httpx.TransportError):
        caller.http.put(slot["upload_url"], content=jpeg)
    assert caller.pfc(slot["fileKey"]).status_code == 409


def test_a_download_can_be_continued(caller, jpeg):
    view, data = caller.corrected(jpeg)
    answer = caller.http.get(view["correctedFile"], headers={"Range": "bytes=10-"})
    assert (answer.status_code, answer.content) == (206, data[10:])
    assert answer.headers["content-range"] == f"bytes 10-{len(data) - 1}/{len(data)}"
    past = caller.http.get(view["correctedFile"], headers={"Range": f"bytes={len(data)}-"})
    assert past.status_code == 416


def test_a_download_says_what_it_is(caller, jpeg):
    view, data = caller.corrected(jpeg)
    headers = caller.http.get(view["correctedFile"]).headers
    assert headers["content-length"] == str(len(data))
    assert headers["etag"] == f'"{hashlib.md5(data).hexdigest()}"'


def test_each_status_gives_a_fresh_url_and_the_old_one_stays_good(caller, jpeg):
    job_id = caller.start(caller.upload(jpeg))
    first = caller.finished(job_id)["correctedFile"]
    second = caller.finished(job_id)["correctedFile"]
    assert caller.http.get(first).content == caller.http.get(second).content


def test_an_unknown_object_is_404_in_xml(caller, emulator):
    answer = caller.http.get(f"{emulator.storage_url}/uploads/../secret")
    assert answer.status_code == 404
    assert "NoSuchKey" in answer.text
