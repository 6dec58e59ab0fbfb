"""Random walks through the lifecycle, illegal transitions among them, while images flow.

    scripts/endurance walks --walks 1000 --seed 1 --output engines/measured/walks.json

After each walk the node is brought to active, where it must answer a frame, and back to unconfigured, where it must
hold what it held before: memory, descriptors, threads.

Memory does not stand quite still. By mallinfo a configure, activate, deactivate and cleanup beside a camera and a
listener leaves 2.8 KiB behind: 0.9 in OpenCV, for a thread that used it, 1.1 in Fast DDS, of a bare node with 8 matched
endpoints (the real one has 11), 0.1 in ONNX Runtime; where the rest goes is not known, and tracemalloc sees none of it.
So a bare node of rclpy walks beside the real one, and the growth of a walk is told of both.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from typing import Any

from sensor_msgs.msg import Image

from endurance.process_watch import Holdings, holdings, report
from ros_testing import ACTIVATE, CLEANUP, CONFIGURE, DEACTIVATE, NodeProcess, Robot, gray, wait_until

LEGAL = {
    ("unconfigured", CONFIGURE): "inactive",
    ("inactive", ACTIVATE): "active",
    ("inactive", CLEANUP): "unconfigured",
    ("active", DEACTIVATE): "inactive",
}
"""Where each transition leads; every other one is refused and leaves the state as it is."""

NODE_PARAMETERS = {"autostart": False, "diagnostics_period": 0.1}

WAY_UP = {"unconfigured": (CONFIGURE, ACTIVATE), "inactive": (ACTIVATE,), "active": ()}
WAY_HOME = (DEACTIVATE, CLEANUP)
_TRANSITIONS = (CONFIGURE, ACTIVATE, DEACTIVATE, CLEANUP)
_LONGEST_WALK = 8
_PERIOD_S = 0.02


class Flow:
    """Sends images all the time, from a thread of its own."""

    def __init__(self, robot: Robot) -> None:
        self._robot = robot
        self._end = threading.Event()
        self.sent = 0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        """No image is sent after this."""
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(_PERIOD_S):
            header = self._robot.header()
            self._robot.send_info(header, 192, 128, fx=100.0)
            self._robot.send(gray(0.5), header=header)
            self.sent += 1


def walk(node: NodeProcess, robot: Robot, walks: int, seed: int, say: Any = lambda text: None) -> dict[str, Any]:
    """Walks `walks` times, from unconfigured and back; `robot` listens to nothing yet. Returns what to write down.

    Raises:
        AssertionError: a transition had another outcome than it must have, or a frame was not answered.
    """
    random_ = random.Random(seed)
    robot.listen(Image, "depth/image")
    assert robot.state() == "unconfigured"
    made: Counter[str] = Counter()
    samples: list[Holdings] = []
    flow = Flow(robot)
    try:
        for number in range(walks):
            state = "unconfigured"
            for _ in range(random_.randint(1, _LONGEST_WALK)):
                legal = [transition for start, transition in LEGAL if start == state]
                transition = random_.choice(legal if random_.random() < 0.5 else _TRANSITIONS)
                made["made" if transition in legal else "refused"] += 1
                state = _step(robot, state, transition)
            _go(robot, state, WAY_UP[state])
            robot.received["depth/image"].clear()
            wait_until(lambda: robot.received["depth/image"], f"an answer in walk {number}")
            _go(robot, "active", WAY_HOME)
            samples.append(holdings(node.process.pid))
            if number % 50 == 49:
                say(f"{number + 1} walks, {made['made']} transitions, {made['refused']} refused: {samples[-1]}")
    finally:
        flow.stop()
    return {
        "walks": walks,
        "seed": seed,
        "transitions_made": made["made"],
        "transitions_refused": made["refused"],
        "images_sent": flow.sent,
        "holdings_when_unconfigured": report(samples),
    }


def _step(robot: Robot, state: str, transition: int) -> str:
    """Asks for one transition in `state` and checks its outcome; returns the state after it."""
    after = LEGAL.get((state, transition))
    assert robot.change_state(transition) == (after is not None), f"transition {transition} in state {state}"
    expected = after or state
    assert robot.state() == expected, f"after transition {transition} in state {state}"
    return expected


def _go(robot: Robot, state: str, transitions: tuple[int, ...]) -> None:
    for transition in transitions:
        state = _step(robot, state, transition)
