"""The life of a frame: decode, infer, limit, publish; and what becomes of a frame that fails on the way."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybridnet_ros.engine import Engine
from hybridnet_ros.engine.perception import View, perceive_batch
from hybridnet_ros.messages import MessageError, to_rgb
from hybridnet_ros.node.calibration import Calibrated
from hybridnet_ros.node.camera import Camera
from hybridnet_ros.node.frame import Frame, age_ms
from hybridnet_ros.node.health import Drop
from hybridnet_ros.node.outputs import Answer
from hybridnet_ros.node.parameters import Settings
from hybridnet_ros.node.troubles import Level
from hybridnet_ros.node.worker import Batching

GPU_BATCH = 8
_REPEAT_S = 5.0


@dataclass
class _Memory:
    """What is known of the frames of a camera so far."""

    last: tuple[str, int, int] | None = None  # transport and stamp
    said: set[str] = field(default_factory=set)
    warnings: dict[str, tuple[float, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Decoded:
    """A frame that is ready for the engine."""

    frame: Frame
    camera: Camera
    wanted: list[str]
    rgb: NDArray[np.uint8]
    calibrated: Calibrated | None


class Pipeline:
    """Answers frames, in the worker thread, from activate to deactivate."""

    def __init__(
        self,
        cameras: Mapping[str, Camera],
        settings: Callable[[], Settings],
        now_ns: Callable[[], int],
        log: Any,
        on_failing: Callable[[str], None],
    ) -> None:
        """A pipeline of these parts.

        Args:
            cameras: those whose frames will come, by name.
            settings: the parameters at present.
            now_ns: the node's ROS clock.
            log: the node's logger.
            on_failing: is told the reason when `max_failures` frames in a row failed.
        """
        self._cameras = cameras
        self._settings = settings
        self._now_ns = now_ns
        self._log = log
        self._on_failing = on_failing
        self._failures = 0
        self._gave_up = False
        self._abandoned = False
        self._memories = {name: _Memory() for name in cameras}

    def batching(self, engine: Engine) -> Batching:
        """How many frames to take at once."""
        settings = self._settings()
        automatic = GPU_BATCH if engine.runtime in ("tensorrt", "onnx_cuda") else 1
        return Batching(settings.max_batch or automatic, settings.batch_window * 1e-3)

    def process(self, engine: Engine, frames: list[Frame]) -> None:
        """Answers each frame, or counts it as dropped and says why; never raises.

        A frame is processed under one `Settings` from start to end.
        """
        settings = self._settings()
        for frame in frames:
            frame.started_ns = time.monotonic_ns()
        batches: dict[tuple[int, ...], list[_Decoded]] = {}
        for frame in frames:
            decoded = self._decoded(frame, engine)
            if isinstance(decoded, Drop):
                self._cameras[frame.camera].health.dropped(decoded)
            else:
                batches.setdefault(decoded.rgb.shape, []).append(decoded)
        for batch in batches.values():
            self._answer(engine, batch, settings)

    def abandon(self) -> None:
        """The frames in work get no answer: the node is no longer active."""
        self._abandoned = True

    def _decoded(self, frame: Frame, engine: Engine) -> _Decoded | Drop:
        """The first half of a frame's road, or why it ends there."""
        camera = self._cameras[frame.camera]
        try:
            if self._is_duplicate(frame):
                return Drop.DUPLICATE
            wanted = camera.outputs.wanted()
            if not wanted:
                return Drop.NO_SUBSCRIBER
            rgb = to_rgb(frame.message)
            camera.health.clear_trouble("image")
            frame.decoded_ns = time.monotonic_ns()
            assert camera.calibration is not None, "made with the inputs, before the first frame"
            height, width = rgb.shape[:2]
            calibrated = camera.calibration.camera(frame.message.header, width, height, engine.manifest.fx)
            return _Decoded(frame, camera, wanted, rgb, calibrated)
        except MessageError as error:
            camera.health.trouble("image", Level.WARN, f"bad image: {error}")
            self._warn(camera, "bad image", f"image dropped: {error}")
            return Drop.BAD_IMAGE
        except Exception as error:  # whatever goes wrong costs this frame, not the node
            return self._failed(camera, error)

    def _answer(self, engine: Engine, batch: list[_Decoded], settings: Settings) -> None:
        """The second half of the road of frames of one size."""
        try:
            views = perceive_batch(
                engine,
                [one.rgb for one in batch],
                [one.calibrated.model.fx if one.calibrated else None for one in batch],
                settings.min_depth,
                settings.max_depth,
            )
        except Exception as error:  # whatever goes wrong costs frames, not the node
            if self._abandoned:
                self._drop_abandoned(batch)
                return
            if len(batch) == 1:
                batch[0].camera.health.dropped(self._failed(batch[0].camera, error))
            for one in batch if len(batch) > 1 else []:  # so that it costs no camera but the one at fault
                self._answer(engine, [one], settings)
            return
        if self._abandoned:
            self._drop_abandoned(batch)
            return
        inferred_ns = time.monotonic_ns()
        for one, view in zip(batch, views, strict=True):
            one.frame.inferred_ns, one.frame.batch = inferred_ns, len(batch)
            try:
                self._publish(one, view, engine, settings)
            except Exception as error:
                one.camera.health.dropped(self._failed(one.camera, error))

    def _drop_abandoned(self, batch: list[_Decoded]) -> None:
        for one in batch:
            one.camera.health.dropped(Drop.STOPPED)

    def _publish(self, one: _Decoded, view: View, engine: Engine, settings: Settings) -> None:
        frame, camera, header = one.frame, one.camera, one.frame.message.header
        manifest = engine.manifest
        answer = Answer(header, one.rgb, view, one.calibrated, manifest.labels, manifest.shown_depth, settings)
        missing = camera.outputs.publish(answer, one.wanted)
        if missing:
            self._say_once(camera, f"not published without CameraInfo: {', '.join(missing)}")
        frame.published_ns = time.monotonic_ns()
        frame.age_ms = age_ms(header.stamp, self._now_ns())
        self._failures = 0
        camera.size = one.rgb.shape[1], one.rgb.shape[0]
        camera.health.clear_trouble("inference")
        camera.health.answered(frame)

    def _is_duplicate(self, frame: Frame) -> bool:
        """Whether this very image came before on the other transport (both are heard for a moment at the start)."""
        stamp, memory = frame.message.header.stamp, self._memories[frame.camera]
        seen, memory.last = memory.last, (frame.transport, stamp.sec, stamp.nanosec)
        return seen is not None and seen[0] != frame.transport and seen[1:] == memory.last[1:]

    def _failed(self, camera: Camera, error: Exception) -> Drop:
        self._failures += 1
        reason = f"{type(error).__name__}: {error}"
        camera.health.trouble("inference", Level.WARN, f"frames fail: {reason}")
        self._warn(camera, "inference", f"frame failed: {reason}")
        self._log.debug(traceback.format_exc())
        if self._failures >= self._settings().max_failures and not self._gave_up:
            self._gave_up = True
            self._on_failing(f"{self._failures} frames failed in a row: {reason}")
        return Drop.FAILED

    def _say_once(self, camera: Camera, text: str) -> None:
        said = self._memories[camera.name].said
        if text not in said:
            said.add(text)
            self._log.info(_of(camera, text))

    def _warn(self, camera: Camera, key: str, text: str) -> None:
        """Logs `text`, but each kind of warning once in a while only, with the number of those not shown."""
        warnings = self._memories[camera.name].warnings
        now = time.monotonic()
        last, hidden = warnings.get(key, (-_REPEAT_S, 0))
        if now - last < _REPEAT_S:
            warnings[key] = (last, hidden + 1)
            return
        warnings[key] = (now, 0)
        more = f" ({hidden} more like it since the last warning)" if hidden else ""
        self._log.warning(_of(camera, text + more))


def _of(camera: Camera, text: str) -> str:
    return f"camera {camera.name}: {text}" if camera.name else text
