from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from airflow_provider_perfectlyclear.emulator.__main__ import PORT, _parser
from airflow_provider_perfectlyclear.emulator.testing import start_emulator

ROOT = Path(__file__).parents[3]
COMMAND = [sys.executable, "-m", "airflow_provider_perfectlyclear.emulator"]


def run(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_is_and_ends_cleanly(number):
    process = run("--key", "it's a key", "--port", "0")
    where, export = process.stdout.readline(), process.stdout.readline()
    assert "stand-in" in where
    name, _, value = shlex.split(export)[1].partition("=")
    connection = json.loads(value)
    assert (shlex.split(export)[0], name) == ("export", "AIRFLOW_CONN_PERFECTLYCLEAR_DEFAULT")
    assert connection["host"] in where
    assert (connection["conn_type"], connection["password"]) == ("perfectlyclear", "it's a key")
    headers = {"X-API-KEY": connection["password"]}
    assert httpx.get(f"{connection['host']}/presets", headers=headers).json() == {"presets": []}
    process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, "")


def test_help_says_that_it_is_not_the_service():
    text = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True, cwd=ROOT, check=True).stdout
    assert "not by EyeQ" in text
    for option in (
        "--port",
        "--storage-port",
        "--storage-host",
        "--job-seconds",
        "--jobs",
        "--rate",
        "--key",
    ):
        assert option in text
    for option in ("--folder", "--echo", "--cache", "--url-seconds"):
        assert option in text


@pytest.mark.parametrize("option", ["--host", "--storage-host"])
@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "example.com"])
def test_it_listens_on_loopback_only(option, host):
    process = run(option, host)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 2
    assert "loopback only" in errors


@pytest.mark.parametrize("option", ["--port", "--storage-port"])
def test_a_port_in_use_is_said_plainly(emulator, option):
    port = httpx.URL(emulator.base_url).port
    process = run("--port", "0", option, str(port))
    said = process.communicate(timeout=20)[1]
    assert f"Cannot listen on 127.0.0.1:{port}: Address already in use. Set {option} to another port" in said


def test_its_address_is_the_same_every_day_unless_told_otherwise():
    # A ledger belongs to the address of its service.
    assert _parser().parse_args([]).port == PORT > 0


def test_files_are_kept_where_told_and_else_removed(started, jpeg, tmp_path):
    caller = started(folder=tmp_path)
    key = caller.upload(jpeg)
    (kept,) = tmp_path.glob("uploads/*/*")
    assert (kept.name, kept.read_bytes()) == (key, jpeg)
    caller.emulator.stop()
    assert kept.exists()


def test_the_temporary_folder_is_removed(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    emulator = start_emulator()
    assert len(list(tmp_path.iterdir())) == 1
    assert emulator.stop() == 0
    assert list(tmp_path.iterdir()) == []


def test_a_silent_request_does_not_keep_it_from_ending():
    emulator = start_emulator()
    emulator.fault("status", {"silence": "before"})
    with pytest.raises(httpx.ReadTimeout), httpx.Client(timeout=0.2) as client:
        client.get(f"{emulator.base_url}/status/x")
    emulator.fault("status", {"drip": 0.1})
    with httpx.Client() as client, client.stream("GET", f"{emulator.base_url}/status/x"):
        assert emulator.stop() == 0


def test_it_ends_with_the_process_that_started_it():
    script = (
        "import os, signal\n"
        "from airflow_provider_perfectlyclear.emulator.testing import start_emulator\n"
        "print(start_emulator().pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    parent = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert parent.returncode == -signal.SIGKILL
    pid = int(re.findall(r"\d+", parent.stdout)[0])
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait(timeout=20)
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_an_emulator_that_does_not_start_says_so(capfd):
    with pytest.raises(RuntimeError, match="did not start"):
        start_emulator(cache="sometimes")
    assert "invalid choice" in capfd.readouterr().err


def test_it_speaks_https_with_a_certificate_of_the_tests_own(tmp_path):
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    try:
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
             "-keyout", key, "-out", certificate],
            check=True,
            capture_output=True,
        )  # fmt: skip
    except FileNotFoundError:
        pytest.skip("openssl, which makes the certificate, is not installed")
    emulator = start_emulator(certificate=certificate, certificate_key=key)
    try:
        assert emulator.base_url.startswith("https://")
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            httpx.get(f"{emulator.base_url}/status/x")
        assert httpx.get(f"{emulator.base_url}/status/x", verify=False).status_code == 404
        emulator.fault("status", {"reset": "committed"})
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{emulator.base_url}/status/x", verify=False)
        assert emulator.unconsumed() == []
    finally:
        assert emulator.stop() == 0


def test_the_environment_of_a_test_leads_to_its_emulator(perfectlyclear_emulator):
    connection = json.loads(os.environ["AIRFLOW_CONN_PERFECTLYCLEAR_DEFAULT"])
    assert connection["host"] == perfectlyclear_emulator.base_url
    answer = httpx.get(f"{connection['host']}/upload", headers={"X-API-KEY": connection["password"]})
    assert answer.status_code == 200
    extra = json.loads(perfectlyclear_emulator.connection_json(timeout=3))["extra"]
    assert extra == {"timeout": 3}


def test_without_pytest_the_testing_module_says_what_it_needs():
    script = (
        "import sys; sys.modules['pytest'] = None; import airflow_provider_perfectlyclear.emulator.testing"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert "needs pytest: pip install pytest" in done.stderr
