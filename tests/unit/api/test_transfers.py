"""Bytes to and from the store, over real sockets: whole, without the key, and no more often than needed."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import time
from collections.abc import Iterator
from typing import Any, BinaryIO

import pytest

from airflow_provider_perfectlyclear import errors
from airflow_provider_perfectlyclear.api.client import Client
from airflow_provider_perfectlyclear.api.settings import Settings

pytestmark = pytest.mark.usefixtures("impatient")

PICTURE = bytes(range(256)) * 1000
S3_ERROR = b"<Error><Code>AccessDenied</Code><StringToSign>canary</StringToSign></Error>"


@pytest.fixture
def client(settings: Settings) -> Iterator[Client]:
    with Client(settings) as one:
        yield one


def body() -> BinaryIO:
    return io.BytesIO(PICTURE)


def signed(store: Any, path: str = "/out.jpg") -> str:
    return f"{store.origin}{path}?X-Amz-Signature=canary"


class TestUpload:
    @pytest.fixture(autouse=True)
    def target(self, wire: Any, store: Any, say: Any) -> None:
        wire.says(
            *[say.http(200, {"fileKey": f"key{n}", "upload_url": signed(store, f"/{n}")}) for n in (1, 2, 3)]
        )

    def test_a_file_goes_out_whole_with_its_length_and_without_key_or_type(
        self, client: Client, wire: Any, store: Any, say: Any
    ) -> None:
        store.says(say.http(200))
        assert client.upload(body, size=len(PICTURE), file_type="video") == "key1"
        assert wire.requests[0].target == "/v2/upload?fileType=video"
        [put] = store.requests
        assert (put.method, put.target, put.body) == ("PUT", "/1?X-Amz-Signature=canary", PICTURE)
        assert put.headers["content-length"] == str(len(PICTURE))
        for absent in ("x-api-key", "content-type", "transfer-encoding", "authorization"):
            assert absent not in put.headers

    def test_an_empty_file_has_a_length_too(self, client: Client, store: Any, say: Any) -> None:
        store.says(say.http(200))
        client.upload(lambda: io.BytesIO(), size=0)
        assert store.requests[0].headers["content-length"] == "0"

    @pytest.mark.parametrize("fault", ["reset", "500", "503", "429", "silence"])
    def test_what_goes_wrong_on_the_way_is_sent_again_from_the_start(
        self, settings: Settings, store: Any, say: Any, fault: str
    ) -> None:
        first = {"reset": say.reset, "silence": lambda *_: time.sleep(1)}
        store.says(first.get(fault) or say.http(int(fault)), say.http(200))
        with Client(dataclasses.replace(settings, timeout=0.3)) as client:
            assert client.upload(body, size=len(PICTURE)) == "key1"
        assert [put.body for put in store.requests] == [PICTURE, PICTURE]

    def test_every_attempt_closes_what_it_opened(self, client: Client, store: Any, say: Any) -> None:
        opened: list[BinaryIO] = []
        store.says(say.http(500), say.http(200))

        def open_body() -> BinaryIO:
            opened.append(body())
            return opened[-1]

        client.upload(open_body, size=len(PICTURE))
        assert [one.closed for one in opened] == [True, True]

    def test_an_expired_url_is_asked_for_once_more(
        self, client: Client, wire: Any, store: Any, say: Any
    ) -> None:
        store.says(say.http(403, S3_ERROR), say.http(200))
        assert client.upload(body, size=len(PICTURE)) == "key2"
        assert [put.target.partition("?")[0] for put in store.requests] == ["/1", "/2"]

    def test_a_second_refusal_is_final(self, client: Client, wire: Any, store: Any, say: Any) -> None:
        store.says(say.http(403, S3_ERROR))
        with pytest.raises(errors.UrlExpired, match=r"HTTP 403 \(AccessDenied\)") as caught:
            client.upload(body, size=len(PICTURE))
        assert "canary" not in str(caught.value)
        assert len(store.requests) == 2

    def test_after_max_retries_the_transfer_has_failed(
        self, settings: Settings, store: Any, say: Any
    ) -> None:
        store.says(say.http(500))
        message = r"upload of 127\.0\.0\.2/1: the store answered HTTP 500"
        with (
            Client(dataclasses.replace(settings, max_retries=2)) as client,
            pytest.raises(errors.TransferFailed, match=message),
        ):
            client.upload(body, size=len(PICTURE))
        assert len(store.requests) == 3

    @pytest.mark.parametrize("change", [-1, 1])
    def test_a_file_that_changes_meanwhile_is_that_files_failure(
        self, client: Client, store: Any, say: Any, change: int
    ) -> None:
        store.says(say.http(200))
        with pytest.raises(errors.InvalidSource) as caught:
            client.upload(body, size=len(PICTURE) + change)
        assert caught.value.code == "SOURCE_CHANGED"

    def test_a_file_that_cannot_be_read_says_so_itself(self, client: Client, store: Any, say: Any) -> None:
        store.says(say.http(200))
        with pytest.raises(FileNotFoundError):
            client.upload(lambda: open("/no/such/file", "rb"), size=1)  # noqa: SIM115  # the client closes it

    def test_a_file_that_breaks_off_while_it_is_read_says_so_itself(
        self, client: Client, store: Any, say: Any
    ) -> None:
        class Broken(io.BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                raise OSError("the source's disk is gone")

        store.says(say.http(200))
        with pytest.raises(OSError, match="disk is gone"):
            client.upload(Broken, size=10)

    def test_cancelling_ends_an_upload(self, client: Client, store: Any, say: Any) -> None:
        class Cancels(io.BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                client.cancel()
                return super().read(size)

        store.says(say.http(200))
        with pytest.raises(errors.Cancelled):
            client.upload(lambda: Cancels(PICTURE), size=len(PICTURE))

    @pytest.mark.parametrize("url", ["file:///etc/passwd", "https://10.0.0.1/x", "http://u:p@127.0.0.2/"])
    def test_an_unsafe_url_is_not_opened(self, client: Client, wire: Any, say: Any, url: str) -> None:
        wire.says(say.http(200, {"fileKey": "k", "upload_url": url}))
        with pytest.raises(errors.UnsafeUrl):
            client.upload(body, size=len(PICTURE))

    @pytest.mark.parametrize("status", [301, 302, 303])
    def test_a_put_is_not_made_a_get_by_a_redirect(
        self, client: Client, wire: Any, store: Any, say: Any, status: int
    ) -> None:
        store.says(say.http(status, Location=f"{wire.origin}/elsewhere"))
        with pytest.raises(errors.TransferFailed):
            client.upload(body, size=len(PICTURE))
        assert len(store.requests) == 1 and len(wire.requests) == 1


class TestDownload:
    def test_a_file_comes_in_whole_and_without_the_key(self, client: Client, store: Any, say: Any) -> None:
        store.says(say.http(200, PICTURE, Content_Type="image/jpeg", ETag='"abc"'))
        sink = io.BytesIO()
        result = client.download(signed(store), sink)
        assert sink.getvalue() == PICTURE
        assert (result.size, result.declared) == (len(PICTURE), len(PICTURE))
        assert (result.content_type, result.etag) == ("image/jpeg", "abc")
        assert result.sha256 == hashlib.sha256(PICTURE).hexdigest()
        assert "x-api-key" not in store.requests[0].headers
        assert store.requests[0].headers["accept-encoding"] == "identity"

    def test_a_file_without_length_ends_with_its_connection(
        self, client: Client, store: Any, say: Any
    ) -> None:
        store.says(say.then(b"HTTP/1.1 200 OK\r\n\r\n" + PICTURE, say.hang_up))
        sink = io.BytesIO()
        assert client.download(signed(store), sink).declared is None
        assert sink.getvalue() == PICTURE

    @pytest.mark.parametrize("end", ["hang_up", "reset"])
    def test_a_cut_download_has_failed_and_is_not_repeated_here(
        self, client: Client, store: Any, say: Any, end: str
    ) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(PICTURE)}\r\n\r\n".encode()
        store.says(say.then(head + PICTURE[:-1], lambda c, r: (time.sleep(0.1), getattr(say, end)(c, r))))
        with pytest.raises(errors.TransferFailed, match="broke off after") as caught:
            client.download(signed(store), io.BytesIO())
        assert "canary" not in str(caught.value) and caught.value.__context__ is None
        assert len(store.requests) == 1

    @pytest.mark.parametrize("fault", ["reset", "hang_up", "500", "503"])
    def test_a_failure_before_the_first_byte_is_hidden(
        self, client: Client, store: Any, say: Any, fault: str
    ) -> None:
        store.says(getattr(say, fault, None) or say.http(int(fault), b"busy"), say.http(200, PICTURE))
        sink = io.BytesIO()
        client.download(signed(store), sink)
        assert sink.getvalue() == PICTURE
        assert len(store.requests) == 2

    @pytest.mark.parametrize("status", [403, 404, 410])
    def test_a_url_that_the_store_refuses_has_expired(
        self, client: Client, store: Any, say: Any, status: int
    ) -> None:
        store.says(say.http(status, S3_ERROR))
        with pytest.raises(errors.UrlExpired, match=f"HTTP {status}") as caught:
            client.download(signed(store), io.BytesIO())
        assert "canary" not in str(caught.value)
        assert len(store.requests) == 1

    @pytest.mark.parametrize("has_length", [True, False])
    def test_a_file_larger_than_allowed_is_refused(
        self, client: Client, store: Any, say: Any, has_length: bool
    ) -> None:
        answer = say.http(200, PICTURE) if has_length else b"HTTP/1.1 200 OK\r\n\r\n" + PICTURE
        store.says(say.then(answer, say.hang_up))
        sink = io.BytesIO()
        with pytest.raises(errors.TransferFailed, match="larger than 100000 bytes"):
            client.download(signed(store), sink, max_bytes=100_000)
        assert len(sink.getvalue()) <= (0 if has_length else 100_000)
        assert len(store.requests) == 1

    def test_bytes_beyond_the_declared_length_are_not_taken(
        self, client: Client, store: Any, say: Any
    ) -> None:
        store.says(say.then(say.http(200, PICTURE) + b"more", say.hang_up))
        sink = io.BytesIO()
        client.download(signed(store), sink)
        assert sink.getvalue() == PICTURE

    def test_a_packed_file_is_no_picture(self, client: Client, store: Any, say: Any) -> None:
        store.says(say.http(200, PICTURE, Content_Encoding="gzip"))
        with pytest.raises(errors.TransferFailed, match="packed as 'gzip'"):
            client.download(signed(store), io.BytesIO())

    def test_one_byte_at_a_time_ends_with_the_deadline(
        self, settings: Settings, store: Any, say: Any
    ) -> None:
        store.says(
            say.then(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n", say.drip(b"x" * 999, every=0.05))
        )
        began = time.monotonic()
        with (
            Client(dataclasses.replace(settings, call_deadline=0.4)) as client,
            pytest.raises(errors.TransferFailed, match="no response in time after"),
        ):
            client.download(signed(store), io.BytesIO())
        assert time.monotonic() - began < 40

    def test_a_large_file_has_more_time(self, settings: Settings, store: Any, say: Any) -> None:
        pieces = [PICTURE[at : at + 32_000] for at in range(0, len(PICTURE), 32_000)]

        def slowly(connection: Any, request: Any) -> None:
            connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(PICTURE)}\r\n\r\n".encode())
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(0.1)

        store.says(slowly)
        with Client(dataclasses.replace(settings, call_deadline=0.3)) as client:
            assert client.download(signed(store), io.BytesIO()).size == len(PICTURE)

    def test_a_full_disk_says_so_itself(self, client: Client, store: Any, say: Any) -> None:
        store.says(say.http(200, PICTURE))
        with open("/dev/full", "wb", buffering=0) as sink, pytest.raises(OSError, match="No space"):
            client.download(signed(store), sink)

    def test_cancelling_ends_a_transfer(self, client: Client, store: Any, say: Any) -> None:
        def cancel_midway(connection: Any, request: Any) -> None:
            connection.sendall(
                f"HTTP/1.1 200 OK\r\nContent-Length: {len(PICTURE)}\r\n\r\n".encode() + PICTURE[:1000]
            )
            client.cancel()
            connection.sendall(PICTURE[1000:])

        store.says(cancel_midway)
        with pytest.raises(errors.Cancelled):
            client.download(signed(store), io.BytesIO())


class TestRedirectedDownloads:
    def test_a_redirect_to_a_safe_place_is_followed_without_the_key(
        self, client: Client, wire: Any, store: Any, say: Any
    ) -> None:
        store.says(say.http(302, Location=f"{wire.origin}/there?sig=1"))
        wire.says(say.http(200, PICTURE))
        sink = io.BytesIO()
        client.download(signed(store), sink)
        assert sink.getvalue() == PICTURE
        assert "x-api-key" not in wire.requests[0].headers

    @pytest.mark.parametrize(
        "location",
        [
            "file:///etc/passwd",
            "http://169.254.169.254/latest",
            "https://10.0.0.1/",
            "http://u:p@127.0.0.2/",
            "//[bad",
        ],
    )
    def test_a_redirect_to_an_unsafe_place_is_not(
        self, settings: Settings, store: Any, say: Any, location: str
    ) -> None:
        store.says(say.http(302, Location=location))
        with (
            Client(dataclasses.replace(settings, max_retries=0)) as client,
            pytest.raises((errors.UnsafeUrl, errors.TransferFailed)),
        ):
            client.download(signed(store), io.BytesIO())

    def test_a_loop_of_redirects_ends(self, client: Client, store: Any, say: Any) -> None:
        store.says(say.http(302, Location="/again"))
        with pytest.raises(errors.TransferFailed, match="too many redirects"):
            client.download(signed(store), io.BytesIO())
        assert len(store.requests) == 4
