"""A real kernel for the tests of this folder, and what it answered in one object."""

from __future__ import annotations

import ast
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from jupyter_client import BlockingKernelClient, KernelManager

REPLY_S = 120
"""Far above what any cell here takes, so that a hung kernel fails a test and does not stop them all."""

_ANSI = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class Reply:
    """What one cell sent: its outputs in order, and the reply."""

    status: str
    count: int | None
    outputs: list[dict[str, Any]] = field(default_factory=list)
    ename: str = ""
    evalue: str = ""
    comms: list[dict[str, Any]] = field(default_factory=list)
    payload: list[dict[str, Any]] = field(default_factory=list)

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The outputs of one type: stream, execute_result, display_data, error."""
        return [output for output in self.outputs if output["output_type"] == kind]

    def stream(self, name: str) -> str:
        return "".join(output["text"] for output in self.of("stream") if output["name"] == name)

    @property
    def stdout(self) -> str:
        return self.stream("stdout")

    @property
    def stderr(self) -> str:
        return _ANSI.sub("", self.stream("stderr"))

    @property
    def results(self) -> list[str]:
        """Values that the cell showed as Out[n]."""
        return [output["data"]["text/plain"] for output in self.of("execute_result")]

    @staticmethod
    def is_summary(data: dict[str, Any]) -> bool:
        return "Wall time" in data.get("text/plain", "") and {"text/html", "image/png"} <= set(data)

    @property
    def summaries(self) -> list[dict[str, Any]]:
        """Bundles of the summaries that were displayed."""
        return [data for data in self.displays if self.is_summary(data)]

    @property
    def displays(self) -> list[dict[str, Any]]:
        return [output["data"] for output in self.of("display_data")]

    @property
    def tracebacks(self) -> list[str]:
        """Error outputs, without colours."""
        return [_ANSI.sub("", "\n".join(output["traceback"])) for output in self.of("error")]

    @property
    def kinds(self) -> list[str]:
        """Types of the outputs in order but for stderr; summaries are told from other displays."""
        return [
            "summary" if self.is_summary(output.get("data", {})) else output["output_type"]
            for output in self.outputs
            if output.get("name") != "stderr"
        ]


class Kernel:
    """A kernel in a process of its own, spoken to over its sockets."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._manager = KernelManager(kernel_name="python3")
        # People's own IPython settings and history stay out, in both directions.
        environment = {**os.environ, "IPYTHONDIR": str(folder / ".ipython"), "HF_HUB_OFFLINE": "1"}
        environment["OMP_NUM_THREADS"] = "1"  # models here are too small for more, and machines are shared
        environment.pop("PYTEST_CURRENT_TEST", None)  # ipykernel would not show what C code writes
        self._manager.start_kernel(cwd=str(folder), env=environment)
        self._client: BlockingKernelClient = self._manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=REPLY_S)

    def close(self) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)

    def submit(self, code: str, **options: Any) -> str:
        """Send a cell and do not wait."""
        return self._client.execute(code, **options)

    def collect(self, request: str, during: Callable[[Reply], None] | None = None) -> Reply:
        """Wait for a cell's end; `during` sees the outputs each time that one has come."""
        reply = Reply("", None)
        while True:
            message = self._client.get_iopub_msg(timeout=REPLY_S)
            if message["parent_header"].get("msg_id") != request:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "status" and content["execution_state"] == "idle":
                break
            if kind in ("stream", "execute_result", "display_data", "error"):
                reply.outputs.append({"output_type": kind, **content})
                if during is not None:
                    during(reply)
            elif kind in ("comm_open", "comm_msg"):
                reply.comms.append(content)
        content = self._client._recv_reply(request, timeout=REPLY_S)["content"]
        reply.status, reply.count = content["status"], content.get("execution_count")
        reply.payload = content.get("payload", [])
        reply.ename, reply.evalue = content.get("ename", ""), content.get("evalue", "")
        return reply

    def run(self, code: str, **options: Any) -> Reply:
        """Run a cell to its end."""
        return self.collect(self.submit(code, **options))

    def setup(self, code: str) -> None:
        """Run a cell that has to work."""
        reply = self.run(code)
        assert reply.status == "ok", reply.tracebacks or reply.stderr

    @staticmethod
    def once(word: str, action: Callable[[], None]) -> Callable[[Reply], None]:
        """For `collect`: act once, when the cell has printed `word`."""
        waiting = [action]

        def during(reply: Reply) -> None:
            if waiting and word in reply.stdout:
                waiting.pop()()

        return during

    def interrupt_when(self, code: str, word: str) -> Reply:
        """Run a cell and interrupt the kernel when the cell has printed `word`."""
        return self.collect(self.submit(code), self.once(word, self._manager.interrupt_kernel))

    def open_comm(self, target: str) -> None:
        """Send what a widget in the page sends."""
        content = {"comm_id": "test", "target_name": target, "data": {}}
        self._client.shell_channel.send(self._client.session.msg("comm_open", content))

    def run_all(self, *cells: str) -> list[Reply]:
        """Queue cells as "Run All" does, then wait for all of them."""
        return [self.collect(request) for request in [self.submit(cell) for cell in cells]]

    def value(self, expression: str) -> Any:
        """A value in the kernel, as JSON, read without a trace in the history or the namespace."""
        asked = {"value": f"__import__('json').dumps({expression})"}
        request = self._client.execute("", silent=True, user_expressions=asked)
        answer = self._client._recv_reply(request, timeout=REPLY_S)["content"]["user_expressions"]["value"]
        assert answer["status"] == "ok", answer
        return json.loads(ast.literal_eval(answer["data"]["text/plain"]))

    def is_complete(self, code: str) -> str:
        """Whether a console would run the code or wait for more of it."""
        request = self._client.is_complete(code)
        answer: str = self._client._recv_reply(request, timeout=REPLY_S)["content"]["status"]
        return answer

    def complete(self, code: str) -> list[str]:
        """What Tab offers at the end of the code."""
        request = self._client.complete(code)
        matches: list[str] = self._client._recv_reply(request, timeout=REPLY_S)["content"]["matches"]
        return matches

    def inspect(self, code: str) -> str:
        """What Shift-Tab shows at the end of the code."""
        request = self._client.inspect(code, len(code))
        content = self._client._recv_reply(request, timeout=REPLY_S)["content"]
        return _ANSI.sub("", content["data"].get("text/plain", ""))


@contextmanager
def _running(folder: Path) -> Iterator[Kernel]:
    running = Kernel(folder)
    try:
        running.setup("%load_ext profkit")
        yield running
    finally:
        running.close()


@pytest.fixture(scope="session")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """One kernel with the extension loaded, for all tests: to start one and to import torch takes seconds."""
    with _running(tmp_path_factory.mktemp("notebook")) as running:
        yield running


@pytest.fixture(scope="module")
def new_kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """A kernel of the module's own."""
    with _running(tmp_path_factory.mktemp("notebook")) as running:
        yield running
