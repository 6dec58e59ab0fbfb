"""One image on its way through the node, with the times at which it passed each station."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

RAW, COMPRESSED = "raw", "compressed"


@dataclass
class Frame:
    """An image message and its timings.

    Attributes:
        message: sensor_msgs/Image or CompressedImage, as it came.
        transport: RAW or COMPRESSED.
        camera: name of the camera it is from; "" where the node has one camera without a name.
        transport_ms: from the image's stamp to its arrival, by the node's ROS clock; None where that makes no sense.
        batch: how many images were run together with it.
        received_ns, started_ns, decoded_ns, inferred_ns, published_ns: steady clock; 0 before the station is passed.
        age_ms: from the image's stamp to its answer's publication, by the node's ROS clock.
    """

    message: Any
    transport: str
    transport_ms: float | None = None
    camera: str = ""
    batch: int = 1
    received_ns: int = field(default_factory=time.monotonic_ns)
    started_ns: int = 0
    decoded_ns: int = 0
    inferred_ns: int = 0
    published_ns: int = 0
    age_ms: float | None = None

    def size(self) -> tuple[int, int] | None:
        """(width, height) that a raw image claims to have; None for a compressed one, which must be decoded first."""
        return (self.message.width, self.message.height) if self.transport == RAW else None

    def stages_ms(self) -> dict[str, float]:
        """Milliseconds spent in each stage of an answered frame."""
        stages = {
            "wait": self.started_ns - self.received_ns,
            "decode": self.decoded_ns - self.started_ns,
            "infer": self.inferred_ns - self.decoded_ns,
            "publish": self.published_ns - self.inferred_ns,
        }
        result = {name: nanoseconds * 1e-6 for name, nanoseconds in stages.items()}
        for name, milliseconds in (("transport", self.transport_ms), ("age", self.age_ms)):
            if milliseconds is not None:
                result[name] = milliseconds
        return result


def age_ms(stamp: Any, now_ns: int) -> float | None:
    """Milliseconds from a message's `stamp` to `now_ns` (ROS clock); None if either is not set."""
    stamp_ns = stamp.sec * 1_000_000_000 + stamp.nanosec
    if stamp_ns == 0 or now_ns == 0:
        return None
    return (now_ns - stamp_ns) * 1e-6
