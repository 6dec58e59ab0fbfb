"""Counts a camera's frames and measures their rates and latencies, for /diagnostics."""

from __future__ import annotations

import statistics
import time
from collections import Counter, deque
from collections.abc import Callable
from enum import Enum

from hybridnet_ros.node.frame import Frame
from hybridnet_ros.node.troubles import Troubles

STAGES = ("transport", "wait", "decode", "infer", "publish", "age")
_BY_ROS_CLOCK = ("transport", "age")  # all others by the steady clock, which never jumps

_RATE_WINDOW_S = 5.0
_LATENCY_SAMPLES = 300  # 10 s at 30 Hz: old enough for a p99, young enough to follow a change
_JUDGED_AGES_S = 10.0  # longer ago nothing is held against the node: at 1 Hz the samples are of five minutes


class Drop(Enum):
    """Why a frame got no answer; the value is its name on /diagnostics."""

    REPLACED = "replaced by a newer one"
    RATE_LIMIT = "rate limit"
    NO_SUBSCRIBER = "no subscriber"
    DUPLICATE = "seen on the other transport"
    BAD_IMAGE = "bad image"
    FAILED = "inference failed"
    STOPPED = "node deactivated"


LOSSES = frozenset({Drop.REPLACED, Drop.BAD_IMAGE, Drop.FAILED})
"""The drops that nobody asked for."""


class RateMeter:
    """Events in a sliding window of seconds. Not locked: `Health` does that."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._times: deque[float] = deque(maxlen=1024)
        self._last: float | None = None

    def tick(self) -> None:
        """Notes one event."""
        self._last = self._clock()
        self._times.append(self._last)

    def rate(self) -> float:
        """Events a second over the window."""
        oldest = self._clock() - _RATE_WINDOW_S
        while self._times and self._times[0] < oldest:
            self._times.popleft()
        if len(self._times) < 2:
            return 0.0
        # Up to now and not to the last event, so that the rate falls when the events stop.
        return len(self._times) / max(self._clock() - self._times[0], 1e-6)

    def count(self) -> int:
        """Events in the window."""
        self.rate()  # forgets those before it
        return len(self._times)

    def seconds_since(self) -> float | None:
        """Seconds since the last event; None before the first."""
        return None if self._last is None else self._clock() - self._last


class Health(Troubles):
    """What happened to a camera's frames, and what troubles it.

    The executor thread and the worker tell it, the timer of /diagnostics asks.
    Always holds: received == answered + sum of dropped + in flight; and where the middleware numbers messages, what
    the camera sent == received + lost.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._lost_before = 0
        self._infos_refused = 0
        self._received = 0
        self._answered = 0
        self._dropped: Counter[Drop] = Counter()
        self._ages_from_ns = 0
        self._start_windows()

    def _start_windows(self) -> None:
        self._since = self._clock()  # the moment from which on every image should be answered
        self._input_age_ms: float | None = None
        self._focal_length = "unknown"
        self._input = RateMeter(self._clock)
        self._lost = RateMeter(self._clock)
        self._output = RateMeter(self._clock)
        self._batches: deque[int] = deque(maxlen=_LATENCY_SAMPLES)
        # Of each answer when it was published, and the milliseconds.
        self._latencies: dict[str, deque[tuple[float, float]]] = {
            stage: deque(maxlen=_LATENCY_SAMPLES) for stage in STAGES
        }

    def received(self, frame: Frame) -> None:
        """An image arrived."""
        with self._lock:
            self._received += 1
            self._input_age_ms = frame.transport_ms
            self._input.tick()

    def lost(self, frames: int) -> None:
        """So many images were lost between the camera and this node."""
        with self._lock:
            self._lost_before += frames

    def info_refused(self) -> None:
        """An image had a CameraInfo that cannot be used; it is answered without."""
        with self._lock:
            self._infos_refused += 1

    def answered(self, frame: Frame) -> None:
        """The answer to an image was published."""
        with self._lock:
            self._answered += 1
            self._output.tick()
            self._batches.append(frame.batch)
            same_clock = frame.received_ns >= self._ages_from_ns
            for stage, milliseconds in frame.stages_ms().items():
                if same_clock or stage not in _BY_ROS_CLOCK:
                    self._latencies[stage].append((self._clock(), milliseconds))

    def dropped(self, cause: Drop) -> None:
        """An image will get no answer."""
        with self._lock:
            self._dropped[cause] += 1
            if cause is Drop.NO_SUBSCRIBER:
                self._since = self._clock()
            if cause in LOSSES:
                self._lost.tick()

    def focal_length(self, text: str) -> None:
        """The focal length in use, and where it is from."""
        with self._lock:
            self._focal_length = text

    def start_afresh(self) -> None:
        """Forgets rates, latencies and passing troubles when the node is deactivated; counters go on."""
        self.keep_lasting()
        with self._lock:
            self._start_windows()

    def forget_ages(self) -> None:
        """Forgets what was measured with a ROS clock that has jumped, also of the frames that are on their way now."""
        with self._lock:
            self._ages_from_ns = time.monotonic_ns()
            self._input_age_ms = None
            for stage in _BY_ROS_CLOCK:
                self._latencies[stage].clear()

    def input_age_ms(self) -> float | None:
        """Age of the last image on arrival; None when unknown."""
        with self._lock:
            return self._input_age_ms

    def output_rate(self) -> float | None:
        """Answers a second, lately; None when they are not asked for, or not for long enough to tell."""
        with self._lock:
            return None if self._clock() - self._since < _RATE_WINDOW_S else self._output.rate()

    def age_p95_ms(self) -> float | None:
        """The age on publication that 95 of 100 answers stay below, lately; None when unknown."""
        with self._lock:
            oldest = self._clock() - _JUDGED_AGES_S
            ages = [age for answered, age in self._latencies["age"] if answered >= oldest]
        return _cuts(ages)[94] if ages else None

    def drop_share(self) -> float | None:
        """The part of the frames that was lost, 0 to 1, lately; None when none came."""
        with self._lock:
            received = self._input.count()
            return min(1.0, self._lost.count() / received) if received else None

    def seconds_since_image(self) -> float | None:
        """Seconds since the last image; None when none came since activation."""
        with self._lock:
            return self._input.seconds_since()

    def values(self) -> list[tuple[str, str]]:
        """The figures, as the key and value texts of a DiagnosticStatus."""
        with self._lock:
            dropped = sum(self._dropped.values())
            age = "unknown" if self._input_age_ms is None else f"{self._input_age_ms:.1f}"
            values = [
                ("input rate (Hz)", f"{self._input.rate():.2f}"),
                ("input age (ms)", age),
                ("output rate (Hz)", f"{self._output.rate():.2f}"),
                ("focal length", self._focal_length),
                ("frames lost on the way here", str(self._lost_before)),
                ("frames received", str(self._received)),
                ("frames answered", str(self._answered)),
                ("frames in flight", str(self._received - self._answered - dropped)),
                ("frames dropped", str(dropped)),
                ("frames with an unusable CameraInfo", str(self._infos_refused)),
            ]
            values += [(f"dropped: {cause.value}", str(self._dropped[cause])) for cause in Drop]
            if self._batches:
                values.append(("images in a batch (mean)", f"{statistics.fmean(self._batches):.2f}"))
            for stage, samples in self._latencies.items():
                if samples:
                    values.append(
                        (f"{stage} p50/p95/p99 (ms)", percentiles([milliseconds for _, milliseconds in samples]))
                    )
            return values

    def counts(self) -> tuple[int, int, dict[Drop, int]]:
        """(received, answered, dropped by cause)."""
        with self._lock:
            return self._received, self._answered, dict(self._dropped)


def percentiles(samples: list[float]) -> str:
    """The text `p50 / p95 / p99` of one or more samples."""
    cuts = _cuts(samples)
    return " / ".join(f"{cuts[percent - 1]:.1f}" for percent in (50, 95, 99))


def _cuts(samples: list[float]) -> list[float]:
    """The 1st to 99th percentile."""
    return statistics.quantiles(samples * 2 if len(samples) == 1 else samples, n=100, method="inclusive")
