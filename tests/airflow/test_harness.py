"""The harness itself: what it starts ends with it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.airflow.harness import until

STARTS = """
import subprocess, sys, time
from tests.airflow.harness import watch_over

sleeps = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])"
process = subprocess.Popen([sys.executable, "-c", sleeps], start_new_session=True)
watch_over(process.pid)
print(process.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGKILL])
def test_what_it_has_started_does_not_outlive_it(sig: signal.Signals) -> None:
    root = Path(__file__).parents[2]
    tests = subprocess.Popen([sys.executable, "-c", STARTS], stdout=subprocess.PIPE, cwd=root)
    assert tests.stdout
    started = psutil.Process(int(tests.stdout.readline()))
    family = until("its child", lambda: started.children(recursive=True), within=20)
    tests.send_signal(sig)
    tests.communicate()
    _, alive = psutil.wait_procs([started, *family], timeout=20)
    assert [process.status() for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []
