"""The one thread that owns the engine: opens it, runs every frame through it, and closes it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future

from hybridnet_ros.engine import Engine
from hybridnet_ros.node.frame import Frame
from hybridnet_ros.node.mailbox import Mailbox

_STOP_TIMEOUT_S = 10.0


class Worker:
    """Takes frames from its mailbox while a pipeline is attached.

    The engine is opened, used and closed in this thread alone, from configure to cleanup, because GPU contexts belong
    to the thread that made them.
    """

    def __init__(self, open_engine: Callable[[], Engine]) -> None:
        """Starts the thread; `open_engine` is called in it."""
        self.mailbox: Mailbox[Frame] = Mailbox()
        self._open_engine = open_engine
        self._opened: Future[Engine] = Future()
        self._working = threading.Lock()
        self._process: Callable[[Frame], None] | None = None
        # A daemon, so that an inference that never returns cannot keep a stopped process alive.
        self._thread = threading.Thread(target=self._run, name="hybridnet worker", daemon=True)
        self._thread.start()

    def engine(self) -> Engine:
        """The engine, once it is open; raises what opening it raised."""
        return self._opened.result()

    def attach(self, process: Callable[[Frame], None]) -> None:
        """From now on calls `process`, which must not raise, with each frame."""
        with self._working:
            self._process = process

    def detach(self) -> Frame | None:
        """Finishes the frame in work; no frame is processed after this returns. Returns the unread frame, if any."""
        with self._working:
            self._process = None
            return self.mailbox.take()

    def stop(self) -> bool:
        """Ends the thread and closes the engine; returns False when it did not end within seconds."""
        self.mailbox.close()
        self._thread.join(_STOP_TIMEOUT_S)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            engine = self._open_engine()
        except Exception as error:  # it is raised again in the thread that waits for the engine
            self._opened.set_exception(error)
            return
        self._opened.set_result(engine)
        with engine:
            while not self.mailbox.closed:
                self._next_frame()

    def _next_frame(self) -> None:
        self.mailbox.wait()
        # Taken under the lock, so that for `detach` each frame is either in the mailbox or finished.
        with self._working:
            frame = self.mailbox.take()
            if frame is not None and self._process is not None:
                self._process(frame)
