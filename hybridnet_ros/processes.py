"""Child processes of the commands: started apart from the terminal, logged to files, and always ended."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

_DISCOVERY_PORTS, _PORTS_PER_DOMAIN = (7400, 7410), 250  # of the DDS wire protocol
_DOMAINS = range(2, 102)  # beyond 101 the ports fall among those that Linux hands out to anybody
_PATIENCE_S = 10.0


class ProcessDied(Exception):
    """A process that should be running has ended; the message has the end of its log."""


class Process:
    """One child, its output in a log file; with `pipes`, its standard output is in `lines` and `say` is its input."""

    def __init__(self, name: str, command: Sequence[str], log: Path, pipes: bool = False) -> None:
        self.name = name
        self.log = log
        self.lines: deque[str] = deque()
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE if pipes else subprocess.DEVNULL,
                stdout=subprocess.PIPE if pipes else file,
                stderr=file if pipes else subprocess.STDOUT,
                text=True,
                # Ctrl-C reaches only us, so that we end the children one after the other and not all at once.
                start_new_session=True,
            )
        if pipes:
            threading.Thread(target=self._read, name=f"{name} output", daemon=True).start()

    @property
    def pid(self) -> int:
        """Its number in the system."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def check_alive(self) -> None:
        """Raise ProcessDied if it has ended."""
        if self.exit_code is not None:
            raise ProcessDied(f"{self.name} ended with exit code {self.exit_code}{self.log_tail()}")

    def log_tail(self, lines: int = 15) -> str:
        """The end of its log, indented, and where the rest is."""
        text = self.log.read_text(errors="replace").rstrip().splitlines()[-lines:]
        return (
            f"; the end of {self.log}:\n" + "\n".join(f"    {line}" for line in text)
            if text
            else f"; {self.log} is empty"
        )

    def say(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self._process.stdin is not None
        try:
            print(line, file=self._process.stdin, flush=True)
        except BrokenPipeError:
            self.check_alive()

    def finish(self) -> int:
        """Close its standard input, which tells it that we are done, and wait; returns the exit code."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self._wait()

    def stop(self) -> int:
        """End it as Ctrl-C would; returns the exit code."""
        if self.exit_code is None:
            self._process.send_signal(signal.SIGINT)
        return self._wait()

    def _wait(self) -> int:
        try:
            return self._process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line.rstrip("\n"))


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs a module with this very Python."""
    return [sys.executable, "-m", module, *arguments]


def isolate_ros(domain: int | None) -> int:
    """Keep this process and its children to themselves: this machine only, and a domain where nobody talks.

    Must run before rclpy.init. Returns the domain: `domain`, or a free one.
    """
    domain = free_domain() if domain is None else domain
    os.environ["ROS_DOMAIN_ID"] = str(domain)
    if os.environ.get("ROS_DISTRO") == "humble":
        os.environ["ROS_LOCALHOST_ONLY"] = "1"
    else:
        os.environ.pop("ROS_LOCALHOST_ONLY", None)  # wins over the newer variable, and warns
        os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    return domain


def free_domain() -> int:
    """A ROS domain of whose discovery ports no process of this machine has one open."""
    domains = random.sample(_DOMAINS, len(_DOMAINS))
    for domain in domains:
        if all(_is_free(port + _PORTS_PER_DOMAIN * domain) for port in _DISCOVERY_PORTS):
            return domain
    return domains[0]


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
