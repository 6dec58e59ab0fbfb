"""Times several engines side by side on the same images: in turns, so that what disturbs the machine disturbs all."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hybridnet_ros.benchmark.meters import Energy, Meters
from hybridnet_ros.engine import Engine

BLOCK_S = 0.5
"""Seconds of one turn: long enough for the processor's caches and the energy counters, short enough to take turns."""


@dataclass
class Timing:
    """What was measured of one engine at one batch size.

    Attributes:
        batch: images in a call.
        call_ms: of each timed call of `Engine.predict`, resizing and copies included.
        energy: joules over the timed calls, for each meter that could be read.
    """

    batch: int
    call_ms: list[float] = field(default_factory=list)
    energy: Energy = field(default_factory=Energy)

    def percentile(self, percent: float) -> float:
        """Milliseconds a call that `percent` of the calls kept to."""
        return float(np.percentile(self.call_ms, percent))

    @property
    def images_per_s(self) -> float:
        """Images in all calls over the time that the calls took."""
        return 1e3 * self.batch * len(self.call_ms) / sum(self.call_ms)


def batches(images: Sequence[NDArray[np.uint8]], size: int) -> Iterator[NDArray[np.uint8]]:
    """Batches uint8 [size, H, W, 3] of consecutive images, over and over."""
    position = 0
    while True:
        yield np.stack([images[(position + offset) % len(images)] for offset in range(size)])
        position += size


def measure(
    engines: Mapping[str, Engine],
    images: Sequence[NDArray[np.uint8]],
    batch: int,
    seconds: float,
    meters: Meters,
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Timing]:
    """Timings of every engine, by name, of at least `seconds` each.

    The engines take turns of BLOCK_S, in one order and then in the other. The first call of a turn is not counted: it
    finds the caches as the engine before it left them, which no robot's node does.

    Args:
        engines: by name.
        images: uint8 [H, W, 3] rgb, all of one size.
        batch: images in a call.
        seconds: of timed calls for each engine.
        meters: read before and after each turn.
        progress: is told how far it is.
    """
    timings = {name: Timing(batch) for name in engines}
    turns = max(1, round(seconds / BLOCK_S))
    source = batches(images, batch)
    for turn in range(turns):
        for name in list(engines) if turn % 2 == 0 else reversed(list(engines)):
            progress(f"batch {batch}, turn {turn + 1} of {turns}: {name}")
            engines[name].predict(next(source))
            _take_turn(engines[name], source, timings[name], meters)
    return timings


def _take_turn(engine: Engine, source: Iterator[NDArray[np.uint8]], timing: Timing, meters: Meters) -> None:
    spent = 0.0
    with meters.adding_to(timing.energy):
        while spent < BLOCK_S:
            given = next(source)
            start = time.perf_counter()
            engine.predict(given)
            seconds = time.perf_counter() - start
            timing.call_ms.append(1e3 * seconds)
            spent += seconds
