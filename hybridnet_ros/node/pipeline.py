"""The life of a frame: decode, infer, limit, publish; and what becomes of a frame that fails on the way."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybridnet_ros.engine import Engine
from hybridnet_ros.engine.perception import perceive
from hybridnet_ros.messages import CameraInfos, MessageError, camera_model, to_rgb
from hybridnet_ros.node.frame import RAW, Frame, age_ms
from hybridnet_ros.node.health import Drop, Health, Level
from hybridnet_ros.node.inputs import Inputs
from hybridnet_ros.node.outputs import Answer, Outputs
from hybridnet_ros.node.parameters import Settings
from hybridnet_ros.scene.camera import CameraError, CameraModel

_CAMERA_INFO_WAIT_S = 0.25
_REPEAT_S = 5.0


class Pipeline:
    """Answers frames, one at a time, in the worker thread, from activate to deactivate."""

    def __init__(
        self,
        engine: Engine,
        inputs: Inputs,
        infos: CameraInfos,
        outputs: Outputs,
        health: Health,
        settings: Callable[[], Settings],
        now_ns: Callable[[], int],
        log: Any,
        on_failing: Callable[[str], None],
    ) -> None:
        """A pipeline of these parts.

        Args:
            engine: runs the network.
            inputs: says what is published.
            infos: the CameraInfo messages so far.
            outputs: the publishers.
            health: is told what happens to each frame.
            settings: the parameters at present.
            now_ns: the node's ROS clock.
            log: the node's logger.
            on_failing: is told the reason when `max_failures` frames in a row failed.
        """
        self._engine = engine
        self._inputs = inputs
        self._infos = infos
        self._outputs = outputs
        self._health = health
        self._settings = settings
        self._now_ns = now_ns
        self._log = log
        self._on_failing = on_failing
        self._failures = 0
        self._gave_up = False
        self._last_seen: tuple[str, int, int] | None = None
        self._waited_for: set[str] = set()
        self._said: set[str] = set()
        self._warnings: dict[str, tuple[float, int]] = {}

    def process(self, frame: Frame) -> None:
        """Answers `frame`, or counts it as dropped and says why; never raises."""
        frame.started_ns = time.monotonic_ns()
        try:
            drop = self._answer(frame)
        except MessageError as error:
            drop = Drop.BAD_IMAGE
            self._health.trouble("image", Level.WARN, f"bad image: {error}")
            self._warn("bad image", f"image dropped: {error}")
        except Exception as error:  # whatever goes wrong costs this frame, not the node
            drop = Drop.FAILED
            self._fail(error)
        if drop is None:
            self._health.answered(frame)
        else:
            self._health.dropped(drop)

    def _answer(self, frame: Frame) -> Drop | None:
        """The road of every frame; returns why it ends early, or None when it was answered."""
        settings = self._settings()
        header = frame.message.header
        if self._is_duplicate(frame):
            return Drop.DUPLICATE
        wanted = self._outputs.wanted()
        if not wanted:
            return Drop.NO_SUBSCRIBER

        rgb = to_rgb(frame.message)
        self._health.clear_trouble("image")
        frame.decoded_ns = time.monotonic_ns()

        info, camera = self._camera(header, rgb)
        view = perceive(self._engine, rgb, camera.fx if camera else None, settings.min_depth, settings.max_depth)
        frame.inferred_ns = time.monotonic_ns()

        missing = self._outputs.publish(Answer(header, rgb, view, info, camera, settings), wanted)
        if missing:
            self._say_once(f"not published without CameraInfo: {', '.join(f'~/{name}' for name in missing)}")
        frame.published_ns = time.monotonic_ns()
        frame.age_ms = age_ms(header.stamp, self._now_ns())
        self._failures = 0
        self._health.clear_trouble("inference")
        return None

    def _is_duplicate(self, frame: Frame) -> bool:
        """Whether this very image came before on the other transport (both are heard for a moment at the start)."""
        stamp = frame.message.header.stamp
        seen, self._last_seen = self._last_seen, (frame.transport, stamp.sec, stamp.nanosec)
        return seen is not None and seen[0] != frame.transport and seen[1:] == self._last_seen[1:]

    def _camera(self, header: Any, rgb: NDArray[np.uint8]) -> tuple[Any | None, CameraModel | None]:
        """The CameraInfo of an image and the camera it describes; (None, None), and a warning, without a usable one."""
        info = self._infos.match(header)
        if info is None and header.frame_id not in self._waited_for and self._inputs.camera_info_published():
            # Once for each camera: its first CameraInfo often comes a moment after its first image.
            self._waited_for.add(header.frame_id)
            self._infos.wait_for_first(header, _CAMERA_INFO_WAIT_S)
            info = self._infos.match(header)
        try:
            if info is None:
                raise CameraError(self._why_no_info(header.frame_id))
            camera = camera_model(info, rgb.shape[1], rgb.shape[0])
        except (CameraError, MessageError) as error:
            text = (
                f"depth is as at the training focal length ({self._engine.manifest.fx:.1f} px at network size), "
                f"and so wrong by a factor for other cameras: {error}"
            )
            if self._health.trouble("camera_info", Level.WARN, text):
                self._log.warning(text)
            self._health.focal_length("assumed: training focal length")
            return None, None
        if self._health.clear_trouble("camera_info"):
            self._log.info(f"CameraInfo on {self._inputs.info_topic} is used: depth is metric now")
        self._health.focal_length(f"{camera.fx:.2f} px from {self._inputs.info_topic}")
        topic = self._inputs.topics[RAW]
        if any(info.d) and "rect" not in topic:
            self._say_once(
                f"the camera of {topic} has lens distortion and the topic looks unrectified: depth belongs to the "
                "image as it is, points bend towards the edges; use image_rect of image_proc if that matters"
            )
        return info, camera

    def _why_no_info(self, frame_id: str) -> str:
        others = self._infos.frames()
        topic = self._inputs.info_topic
        if others:
            return f"CameraInfo on {topic} has frame_id {others[-1]!r}, the image {frame_id!r}; make them equal"
        if self._inputs.camera_info_published():
            return f"no CameraInfo came on {topic} yet"
        return f"nothing publishes CameraInfo on {topic}; remap it with -r camera_info:=..."

    def _fail(self, error: Exception) -> None:
        self._failures += 1
        reason = f"{type(error).__name__}: {error}"
        self._health.trouble("inference", Level.WARN, f"frames fail: {reason}")
        self._warn("inference", f"frame failed: {reason}")
        self._log.debug(traceback.format_exc())
        if self._failures >= self._settings().max_failures and not self._gave_up:
            self._gave_up = True
            self._on_failing(f"{self._failures} frames failed in a row: {reason}")

    def _say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._log.info(text)

    def _warn(self, key: str, text: str) -> None:
        """Logs `text`, but each kind of warning once in a while only, with the number of those not shown."""
        now = time.monotonic()
        last, hidden = self._warnings.get(key, (-_REPEAT_S, 0))
        if now - last < _REPEAT_S:
            self._warnings[key] = (last, hidden + 1)
            return
        self._warnings[key] = (now, 0)
        self._log.warning(text + (f" ({hidden} more like it since the last warning)" if hidden else ""))
