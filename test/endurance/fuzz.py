"""Sends malformed messages to the real node, and a good frame after each, which must be answered as if nothing was.

scripts/endurance fuzz --messages 20000 --seed 1 --output engines/measured/fuzz.json
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
from sensor_msgs.msg import CameraInfo, Image

from endurance.malformed import GOOD_FX, Malformed, camera_info, malformed_compressed, malformed_image, malformed_info
from endurance.process_watch import holdings, peak_mib, report
from ros_testing import NodeProcess, Robot, gray, image_of, wait_until
from tiny import TINY_FX

NODE_PARAMETERS = {"max_depth": 1000.0, "diagnostics_period": 0.1}

_WIDTH, _HEIGHT = 192, 128
Say = Callable[[str], None]

_SCALE = GOOD_FX / (2 * TINY_FX)  # the network's image is half as wide
_TOPIC = "depth/image"
_HELD_EVERY = 20  # malformed messages
_HEAD_START_S = 0.003
"""By how much a bad image is sent before the good one, which would take its place in the mailbox otherwise.

It need not be enough: the node counts what it replaces, too.
"""


class Fuzz:
    """One robot that sends rubbish to one node; counts what becomes of it."""

    def __init__(self, node: NodeProcess, robot: Robot, seed: int, say: Say) -> None:
        """Waits until the two hear each other; `say` is told how far it is."""
        self.sent: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self._say = say
        self._node = node
        self._robot = robot
        self._random = Random(seed)
        self._good = 0
        self._infos_refused = 0
        robot.listen(Image, _TOPIC)
        robot.listen(CameraInfo, "depth/camera_info")
        robot.ready()
        # A frame does not wait for its CameraInfo, but takes the last of its camera: from now on that is the good one.
        for _ in range(2):
            self._robot.answer(self._good_pair()[1], _TOPIC)
        self._before = self._counts()
        self._held = [holdings(node.process.pid)]

    def images(self, make: Callable[[Random], Malformed], publisher: Any, count: int) -> None:
        """Sends `count` bad images by `publisher`, and a good one after each.

        Raises:
            AssertionError: something that had to be refused was answered, or something good was not, or wrongly.
        """
        for _ in range(count):
            bad = make(self._random)
            bad.message.header = self._robot.header()
            publisher.publish(bad.sent())
            self.sent[bad.kind] += 1
            time.sleep(_HEAD_START_S)
            self._good_frame()
            self._note_answer(bad)
            self._tell()

    def infos(self, count: int) -> None:
        """Sends `count` bad CameraInfos, each with a good image of its own stamp, and a good pair after each.

        Raises:
            AssertionError: as `images`; or an answer made use of a CameraInfo that had to be refused.
        """
        for number in range(count):
            bad = malformed_info(self._random)
            header = bad.message.header = self._robot.header()
            header.frame_id = f"camera_{number}"  # so that no other camera has anything to do with it
            self._robot.infos.publish(bad.sent())
            self.sent[bad.kind] += 1
            self._good_frame()  # after which the CameraInfo sent before it is there, too
            self._forget()
            brightness = self._send_image(header)
            depth = image_of(self._robot.answer(header, _TOPIC))
            self._good += 1
            assert not np.isnan(depth).any(), bad.kind
            if bad.refused:
                self._infos_refused += 1
                np.testing.assert_allclose(depth, _tiny_depth(brightness), rtol=1e-3, err_msg=bad.kind)
            self._good_frame()
            for info in self._robot.received["depth/camera_info"]:
                assert not (bad.refused and info.header.stamp == header.stamp), f"{bad.kind} was published"
                assert np.isfinite([*info.k, *info.p]).all(), bad.kind
            self._forget()
            self._tell()

    def result(self) -> dict[str, Any]:
        """What to write down, after the accounts were checked.

        Raises:
            AssertionError: the node's counters do not add up to what was sent.
        """
        robot, node = self._robot, self._node

        def settled() -> dict[str, int] | None:
            counts = self._counts()
            return counts if counts["frames in flight"] == 0 else None

        after = wait_until(settled, "the last frame")
        counts = {key: after[key] - self._before[key] for key in after}
        bad_images = sum(count for kind, count in self.sent.items() if "CameraInfo" not in kind)
        refused = counts["dropped: bad image"] + counts["dropped: replaced by a newer one"]
        assert counts["frames received"] + counts["frames lost on the way here"] == bad_images + self._good, counts
        assert counts["frames answered"] == self._good + sum(self.answered.values()), counts
        assert counts["frames received"] == counts["frames answered"] + counts["frames dropped"], counts
        assert counts["frames dropped"] == refused, counts
        assert counts["frames with an unusable CameraInfo"] >= self._infos_refused, counts
        assert node.alive()
        assert "Traceback" not in node.log()
        return {
            "malformed_sent": dict(sorted(self.sent.items())),
            "of_these_taken_for_good": dict(sorted(self.answered.items())),
            "good_frames_sent_and_answered": self._good,
            "node_counted": {key: count for key, count in counts.items() if count},
            "held": report(self._held),
            "memory_mib_at_each_tenth": [one.memory_mib for one in self._held[:: max(1, len(self._held) // 10)]],
            "memory_mib_peak": peak_mib(node.process.pid),
            "state_at_the_end": robot.state(),
        }

    def _good_frame(self) -> None:
        """Sends a good pair; its answer must be that of its own brightness, at its own scale."""
        brightness, header = self._good_pair()
        answer = self._robot.answer(header, _TOPIC)
        self._good += 1
        assert (answer.width, answer.height) == (_WIDTH, _HEIGHT)
        np.testing.assert_allclose(image_of(answer), _SCALE * _tiny_depth(brightness), rtol=1e-3)

    def _good_pair(self) -> tuple[float, Any]:
        info = camera_info()
        info.header = self._robot.header()
        self._robot.infos.publish(info)
        return self._send_image(info.header), info.header

    def _send_image(self, header: Any) -> float:
        brightness = self._random.randint(10, 160) / 255  # below that of the sky
        self._robot.send(gray(brightness, _WIDTH, _HEIGHT), header=header)
        return brightness

    def _note_answer(self, bad: Malformed) -> None:
        # Answers come in order, so its own would have come before that to the good frame.
        for answer in self._robot.received[_TOPIC]:
            if answer.header.stamp == bad.message.header.stamp:
                assert not bad.refused, f"{bad.kind} was answered: {bad.message}"
                self.answered[bad.kind] += 1
                if isinstance(bad.message, Image) and bad.spoil is None:
                    assert (answer.width, answer.height) == (bad.message.width, bad.message.height), bad.kind
        self._forget()

    def _tell(self) -> None:
        sent = sum(self.sent.values())
        if sent % _HELD_EVERY == 0:
            self._held.append(holdings(self._node.process.pid))
        if sent % 1000 == 0:
            self._say(f"{sent} malformed messages, {self._good} good ones answered")

    def _forget(self) -> None:
        for messages in self._robot.received.values():
            messages.clear()

    def _counts(self) -> dict[str, int]:
        values = self._robot.values()
        return {key: int(value) for key, value in values.items() if key.startswith(("frames ", "dropped: "))}


def fuzz_raw(node: NodeProcess, robot: Robot, messages: int, seed: int, say: Say = print) -> dict[str, Any]:
    """Images, and CameraInfo for every fourth; the node hears raw images."""
    fuzz = Fuzz(node, robot, seed, say)
    fuzz.infos(messages // 4)
    fuzz.images(malformed_image, robot.images, messages - messages // 4)
    return fuzz.result()


def fuzz_compressed(node: NodeProcess, robot: Robot, messages: int, seed: int, say: Say = print) -> dict[str, Any]:
    """Compressed images; `robot` is one with a compressed camera."""
    fuzz = Fuzz(node, robot, seed, say)
    fuzz.images(malformed_compressed, robot.compressed, messages)
    return fuzz.result()


def _tiny_depth(brightness: float) -> float:
    return 1 + 99 * round(brightness * 255) / 255
