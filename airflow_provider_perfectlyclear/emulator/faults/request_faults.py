"""The faults that happen to one request."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import Any

from airflow_provider_perfectlyclear.emulator.faults import Instructions, Request, actions
from airflow_provider_perfectlyclear.emulator.faults.actions import Action
from airflow_provider_perfectlyclear.emulator.faults.shaping import Misfire, echo, shape
from airflow_provider_perfectlyclear.emulator.transport.answers import Answer
from airflow_provider_perfectlyclear.emulator.transport.sockets import Client, send_signal, stopped


class RequestFaults:
    """
    The actions of all instructions that a request meets. False if there are none.

    :param client: the request's end of the connection.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._instructions = Instructions()
        self._due: list[tuple[str, Action]] = []
        self._peer: int | None = None

    def meet(self, instructions: Instructions, request: Request) -> None:
        """Ask which faults happen to this request."""
        self._instructions = instructions
        self._due = instructions.take(request) if instructions.pending else []

    def __bool__(self) -> bool:
        return bool(self._due)

    def given(self, name: str) -> Any:
        """Return what an action of that name is given, or None if there is none."""
        return next((action.value for _, action in self._due if action.name == name), None)

    def misfire(self, name: str, why: str) -> None:
        """Note that actions of that name could not be done."""
        for instruction_id, action in self._due:
            if action.name == name:
                self._instructions.misfire(instruction_id, f"{name}: {why}")

    async def find_peer(self) -> None:
        """Look up the process that a fault kills: it dies at its moment then, not tens of milliseconds later."""
        if any(action.name == "kill" and action.value["pid"] == "peer" for _, action in self._due):
            self._peer = await self._client.peer()

    def shape(self, answer: Answer, signed_url: Callable[[], str]) -> Answer:
        """
        Return the answer as the faults change it.

        :param signed_url: a signed URL, for a fault that tells one.
        """
        for instruction_id, action in self._due:
            if action.name == "echo":
                answer = echo(action.value, signed_url())
                continue
            try:
                answer = shape(answer, action)
            except Misfire as misfire:
                self._instructions.misfire(instruction_id, f"{action.name}: {misfire}")
        return answer

    async def moment(self, when: str) -> None:
        """Do what is to be done at a moment, in order."""
        for instruction_id, action in self._due:
            if action.when == when:
                await self._do(instruction_id, action)

    async def _do(self, instruction_id: str, action: Action) -> None:
        if action.name == "delay":
            await asyncio.sleep(action.value)
        elif action.name == "kill":
            await self._kill(instruction_id, action)
        else:
            await self._client.end(action.name)

    async def _kill(self, instruction_id: str, action: Action) -> None:
        pid = self._peer if action.value["pid"] == "peer" else action.value["pid"]
        if pid is None or not send_signal(pid, action.value["signal"]):
            self._instructions.misfire(instruction_id, f"kill: no process {action.value['pid']} to kill")
        elif action.value["signal"] == signal.SIGSTOP:
            await stopped(pid)
        if action.value["signal"] == signal.SIGKILL and action.when != actions.ANSWERED:
            # The dead client's socket may live on in a child that it forked.
            await self._client.end("reset")

    def after(self, when: str, length: int) -> int | None:
        """Return after how many bytes the earliest action of a moment comes; None if there is none."""
        half = length // 2
        due = [
            half if action.after is None else action.after for _, action in self._due if action.when == when
        ]
        return min(due, default=None)
