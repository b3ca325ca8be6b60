"""Workers as a test holds them: started, killed, stopped, woken, and heard at their end."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from contextlib import suppress
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from tests.support import worker

# Importing all that a worker needs takes longer than most runs here. So one process imports it, and forks them.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["__main__", "tests.support.worker"])
# Workers may be started and waited for by several threads; a thread that starts one looks after all that have ended.
_ONE_AT_A_TIME = threading.Lock()


class Worker:
    """
    A process that runs a catalog once.

    :param config: what :mod:`tests.support.worker` reads. It is handed over by a pipe: arguments can be seen by all.
    :param log: where its log is added to, at DEBUG.
    :param temporary: its folder for temporary files.
    """

    def __init__(self, config: dict[str, Any], *, log: Path, temporary: Path) -> None:
        temporary.mkdir(exist_ok=True)
        self._said, sender = _PROCESSES.Pipe(duplex=False)
        self._process = _PROCESSES.Process(
            target=worker.forked, args=(config, sender, str(log), str(temporary)), daemon=True
        )
        self._log = log
        self._code: int | None = None
        with _ONE_AT_A_TIME:
            self._process.start()
        sender.close()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def send_signal(self, number: int) -> None:
        with suppress(ProcessLookupError):  # it has ended meanwhile
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL, and wait for the end; nothing if it has ended."""
        if not self.has_ended():
            self.send_signal(signal.SIGKILL)
            self.has_ended(10)

    def has_ended(self, seconds: float = 0.0) -> bool:
        """Whether it ends within so many seconds."""
        if self._code is None:
            wait([self._process.sentinel], seconds)
            with _ONE_AT_A_TIME:
                self._code = self._process.exitcode
        return self._code is not None

    @property
    def is_stopped(self) -> bool:
        """SIGSTOP has reached it."""
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
        except (FileNotFoundError, ProcessLookupError):  # it has ended
            return False

    def wait_until_ready(self) -> None:
        """Until its run begins."""
        assert self._said.poll(30) and self._said.recv() == {"ready": True}

    def end(self, seconds: float = 60.0) -> dict[str, Any] | None:
        """
        What it said at its end; None if it was killed.

        :param seconds: how long to wait for it.
        """
        deadline, said = time.monotonic() + seconds, None
        try:
            while self._said.poll(max(0, deadline - time.monotonic())):
                said = self._said.recv()
        except EOFError:
            pass
        self.has_ended(max(1, deadline - time.monotonic()))
        code, is_over = self._code, said is not None and "ready" not in said
        # A catalog handles SIGTERM; a worker of single pictures dies of it.
        if code == -signal.SIGKILL or (code == -signal.SIGTERM and not is_over):
            return None
        text = (
            self._log.read_text(errors="replace")[-4000:] if self._log.exists() else "it has logged nothing"
        )
        assert code is not None, f"no end after {seconds} s:\n{text}"
        if code == -signal.SIGTERM:  # told to stop when it had said all
            code = 0
        assert code == 0 and said is not None and is_over, f"exit code {code}:\n{text}"
        return dict(said)
