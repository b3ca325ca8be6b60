"""Faults of the connection itself, over raw sockets; and clients that die."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from urllib.parse import urlsplit

import pytest

# Sends one request and stays until it is killed.
CLIENT = """
import http.client, sys
connection = http.client.HTTPConnection(sys.argv[1])
connection.request(sys.argv[2], sys.argv[3], body=b"x" * 4000 if sys.argv[2] == "PUT" else None,
                   headers={"X-API-KEY": "emulator-key"})
answer = connection.getresponse()
print(len(answer.read()), flush=True)
sys.stdin.read()
"""


def exchange(url: str, method: str = "GET", body: bytes = b"", key: str = "") -> bytes:
    """
    Send one request over a socket of its own and read to the end.

    :raises ConnectionResetError: that is how it ended.
    """
    parts = urlsplit(url)
    target = f"{parts.path}?{parts.query}"
    headers = f"Host: {parts.netloc}\r\nX-API-KEY: {key}\r\nContent-Length: {len(body)}"
    head = f"{method} {target} HTTP/1.1\r\n{headers}\r\n\r\n"
    received = b""
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as connection:
        connection.sendall(head.encode() + body)
        while part := connection.recv(65536):
            received += part
    return received


@pytest.mark.parametrize(
    ("when", "accepted"), [("before", 0), ("committed", 1), ("answering", 1), ("answered", 1)]
)
def test_a_reset_is_a_reset_and_the_bill_knows_what_was_done(caller, emulator, jpeg, when, accepted):
    key = caller.upload(jpeg)
    emulator.fault("pfc", {"reset": when})
    with pytest.raises(ConnectionResetError):
        exchange(f"{caller.base}/pfc?fileKey={key}", key=emulator.key)
    assert emulator.bill(summary=True)["accepted"] == accepted


def test_an_upload_can_be_reset_in_the_middle(caller, emulator):
    slot = caller.get("/upload").json()
    emulator.fault("put", {"reset": {"when": "reading", "after": 1000}})
    with pytest.raises(OSError):
        exchange(slot["upload_url"], "PUT", b"x" * 5_000_000)
    assert caller.pfc(slot["fileKey"]).status_code == 409


@pytest.mark.parametrize(("when", "accepted"), [("before", 0), ("committed", 1)])
def test_a_connection_can_be_closed_without_a_word(caller, emulator, jpeg, when, accepted):
    key = caller.upload(jpeg)
    emulator.fault("pfc", {"close": when})
    assert exchange(f"{caller.base}/pfc?fileKey={key}", key=emulator.key) == b""
    assert emulator.bill(summary=True)["accepted"] == accepted


@pytest.mark.parametrize(
    ("framing", "header"),
    [
        ("length", b"content-length"),
        ("chunked", b"transfer-encoding: chunked"),
        ("close", b"connection: close"),
    ],
)
def test_a_download_can_be_cut_at_a_byte(caller, emulator, photographs, framing, header):
    view, data = caller.corrected((photographs / "chelsea.png").read_bytes(), preset="none")
    emulator.fault("download", [{"framing": framing}, {"close": {"when": "answering", "after": 1000}}])
    head, _, body = exchange(view["correctedFile"]).partition(b"\r\n\r\n")
    assert header in head.lower()
    if framing == "chunked":
        size, _, body = body.partition(b"\r\n")
        assert int(size, 16) == 1000
        body = body.removesuffix(b"\r\n")
    assert body == data[:1000]


def client(url: str, method: str = "GET") -> subprocess.Popen[str]:
    parts = urlsplit(url)
    arguments = [sys.executable, "-c", CLIENT, parts.netloc, method, f"{parts.path}?{parts.query}"]
    return subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str]) -> int:
    try:
        return process.wait(20)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("when", "accepted"), [("before", 0), ("committed", 1), ("answering", 1), ("answered", 1)]
)
def test_the_client_of_a_request_can_be_killed(caller, emulator, jpeg, when, accepted):
    key = caller.upload(jpeg)
    emulator.fault("pfc", {"kill": when})
    assert ended(client(f"{caller.base}/pfc?fileKey={key}")) == -signal.SIGKILL
    assert emulator.bill(summary=True)["accepted"] == accepted


def test_the_client_can_be_killed_while_it_uploads_and_while_it_downloads(caller, emulator, jpeg):
    view, _ = caller.corrected(jpeg)
    slot = caller.get("/upload").json()
    emulator.fault("put", {"kill": {"when": "reading", "after": 100}})
    emulator.fault("download", {"kill": {"when": "answering", "after": 100}})
    assert ended(client(slot["upload_url"], "PUT")) == -signal.SIGKILL
    assert ended(client(view["correctedFile"])) == -signal.SIGKILL
    assert caller.pfc(slot["fileKey"]).status_code == 409


def test_the_client_can_be_told_to_end(caller, emulator, jpeg):
    key = caller.upload(jpeg)
    emulator.fault("pfc", {"kill": {"when": "committed", "signal": "SIGTERM"}})
    assert ended(client(f"{caller.base}/pfc?fileKey={key}")) == -signal.SIGTERM


def test_the_client_can_be_put_to_sleep_and_wakes_to_its_answer(caller, emulator, jpeg):
    key = caller.upload(jpeg)
    emulator.fault("pfc", {"kill": {"when": "committed", "signal": "SIGSTOP"}})
    process = client(f"{caller.base}/pfc?fileKey={key}")
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    process.send_signal(signal.SIGCONT)
    assert int(process.stdout.readline()) > 0
    ended_by = process.communicate("")
    assert (ended_by, process.returncode) == (("", None), 0)


def test_another_process_can_be_killed_by_its_id(caller, emulator):
    bystander = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    emulator.fault("upload", {"kill": {"pid": bystander.pid, "when": "answered"}})
    assert caller.get("/upload").status_code == 200
    assert bystander.wait(20) == -signal.SIGKILL
    bystander.communicate()


def test_the_emulator_does_not_kill_itself(emulator):
    with pytest.raises(ValueError, match="does not kill itself"):
        emulator.fault("upload", {"kill": {"pid": emulator.pid, "when": "before"}})
