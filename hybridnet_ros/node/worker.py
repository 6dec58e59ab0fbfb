"""The thread that owns the engine: opens it, runs every frame through it, and closes it; and how another takes over."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from hybridnet_ros.engine import Engine
from hybridnet_ros.node.frame import Frame
from hybridnet_ros.node.mailbox import Mailbox
from hybridnet_ros.node.process import WORKER_THREAD

OpenEngine = Callable[[], Engine]

_PATIENCE_S = 2.0
"""How long a frame in work is waited for. Meanwhile the executor thread, which waits, answers nobody."""


@dataclass(frozen=True)
class Batching:
    """How many frames to take at once, and how many seconds to wait for others of them."""

    limit: int = 1
    window_s: float = 0.0


class Processor(Protocol):
    """What becomes of frames."""

    def batching(self, engine: Engine) -> Batching:
        """How many frames `process` is to be given."""

    def process(self, engine: Engine, frames: list[Frame]) -> None:
        """Answers one or more frames, of different cameras each; must not raise."""

    def abandon(self) -> None:
        """The frames in work were waited for in vain: when the engine returns from them, they get no answer."""


class Worker:
    """Takes frames from its mailbox while a processor is attached.

    An engine is opened, used and closed in one thread alone, because GPU contexts belong to the thread that made them.
    So an engine that is to take another's place comes with a thread of its own, which takes the mailbox over.
    """

    def __init__(self, open_engine: OpenEngine) -> None:
        """Starts the thread; `open_engine` is called in it."""
        self.mailbox: Mailbox[Frame] = Mailbox()
        self._state = threading.Condition()
        self._busy_since: float | None = None  # when the frames in work were taken; one thread at a time has some
        self._opening = threading.Lock()  # engines are opened one after another
        self._processor: Processor | None = None
        self._threads: list[threading.Thread] = []
        self._owner: threading.Thread | None = None  # of the mailbox, and of the engine that answers
        self._newest: threading.Thread | None = None  # to own them when its engine is open
        self._opened: Future[Engine] = Future()
        self._start(open_engine, self._opened)

    def engine(self) -> Engine:
        """The engine that answers, once it is open; raises what opening it raised."""
        return self._opened.result()

    def swap(self, open_engine: OpenEngine, on_done: Callable[[Future[Engine]], None]) -> None:
        """Puts another engine in the place of this one, between two frames, without a pause.

        The engine at work keeps answering until the new one is open. If that fails it goes on as if nothing was.

        Args:
            open_engine: opens the new engine; called in a thread of its own.
            on_done: is told, in that thread: the new engine, before its first frame; or what opening it raised; or,
                by a cancelled Future, that a later `swap` or the end came first.
        """
        done: Future[Engine] = Future()
        done.add_done_callback(on_done)
        self._start(open_engine, done)

    def attach(self, processor: Processor) -> None:
        """From now on frames go to `processor`."""
        with self._state:
            self._processor = processor
            self._state.notify_all()

    def detach(self) -> list[Frame]:
        """Finishes the frames in work; none is processed after this returns. Returns the unread frames.

        An engine that does not return within seconds is not waited for: its frames are abandoned.
        """
        with self._state:
            processor, self._processor = self._processor, None
            unread = self.mailbox.clear()
            if not self._state.wait_for(self._is_idle, _PATIENCE_S) and processor is not None:
                processor.abandon()
            return unread

    def busy_s(self) -> float:
        """For how many seconds the frames in work have been in work; 0 when there are none."""
        with self._state:
            return 0.0 if self._busy_since is None else time.monotonic() - self._busy_since

    def stop(self) -> bool:
        """Ends the threads and closes the engine; returns False when they did not end within seconds."""
        self.mailbox.close()
        with self._state:
            self._state.notify_all()
        end = time.monotonic() + _PATIENCE_S
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _start(self, open_engine: OpenEngine, done: Future[Engine]) -> None:
        # A daemon, so that an inference that never returns cannot keep a stopped process alive.
        thread = threading.Thread(target=self._run, args=(open_engine, done), name=WORKER_THREAD, daemon=True)
        self._threads = [*(one for one in self._threads if one.is_alive()), thread]
        self._newest = thread
        thread.start()

    def _run(self, open_engine: OpenEngine, done: Future[Engine]) -> None:
        with self._opening:
            if self._is_too_late():
                done.cancel()
                return
            try:
                engine = open_engine()
            except Exception as error:  # it is told to who waits for the engine
                done.set_exception(error)
                return
        with engine:
            with self._state:
                self._state.wait_for(lambda: self._is_idle() or self._is_too_late())
                if self._is_too_late():
                    done.cancel()
                    return
                self._owner, self._opened = threading.current_thread(), done
                done.set_result(engine)
                self._state.notify_all()  # here and below, so that the thread of the engine before ends
            self.mailbox.wake()
            while self._is_owner() and not self.mailbox.closed:
                self._next_frames(engine)

    def _has_processor_or_ends(self) -> bool:
        return self._processor is not None or not self._is_owner() or self.mailbox.closed

    def _is_idle(self) -> bool:
        return self._busy_since is None

    def _is_owner(self) -> bool:
        return self._owner is threading.current_thread()

    def _is_too_late(self) -> bool:
        first = self._owner is None  # it is waited for, so it is opened even where it is stopped at once
        return self._newest is not threading.current_thread() or (self.mailbox.closed and not first)

    def _next_frames(self, engine: Engine) -> None:
        with self._state:
            self._state.wait_for(self._has_processor_or_ends)
        self.mailbox.wait(until=lambda: not self._is_owner())
        processor = self._processor
        batching = Batching() if processor is None else processor.batching(engine)
        if batching.limit > 1 and batching.window_s > 0:
            self.mailbox.wait_for_others(batching.window_s)
        # Taken under the lock, so that for `detach` each frame is either in the mailbox or in work.
        with self._state:
            if not self._is_owner() or self._processor is None:
                return
            processor, frames = self._processor, self.mailbox.take(batching.limit, _one_size)
            if not frames:
                return
            self._busy_since = time.monotonic()
        # And processed outside it: an engine that does not return must not keep others from asking.
        try:
            processor.process(engine, frames)
        finally:
            with self._state:
                self._busy_since = None
                self._state.notify_all()


def _one_size(first: Frame, other: Frame) -> bool:
    """Whether two frames fit into one batch, as far as their messages tell."""
    return first.size() == other.size()
