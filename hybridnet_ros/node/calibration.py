"""The CameraInfo that belongs to each image of a camera, and what people are told when there is none to use."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from hybridnet_ros.messages import (
    CameraInfos,
    MessageError,
    camera_model,
    contents,
    fill_camera_info,
    is_rectified,
)
from hybridnet_ros.node.direct_images import KeptMessage
from hybridnet_ros.node.frame import RAW
from hybridnet_ros.node.health import Health
from hybridnet_ros.node.inputs import Inputs
from hybridnet_ros.node.troubles import Level
from hybridnet_ros.scene.camera import CameraError, CameraModel

_INFO_WAIT_S = 0.25


@dataclass(frozen=True, eq=False)
class Calibrated:
    """What is known of the camera of an image; the same one for all images of which its CameraInfo says the same.

    Attributes:
        info: the CameraInfo.
        model: the pinhole camera made of it, at the size of the image.
        frame_id: of the image.
    """

    info: Any
    model: CameraModel
    frame_id: str

    @cached_property
    def output_info(self) -> KeptMessage:
        """The CameraInfo of every output of the image's size."""
        header = Header(frame_id=self.frame_id)
        return KeptMessage(fill_camera_info(CameraInfo(), self.info, header, self.model.width, self.model.height))


class Calibration:
    """Looks CameraInfo up in the worker thread, from activate to deactivate."""

    def __init__(self, inputs: Inputs, infos: CameraInfos, health: Health, log: Any) -> None:
        self._inputs = inputs
        self._infos = infos
        self._health = health
        self._log = log
        self._known: tuple[Any, Calibrated] | None = None  # what the last image and its CameraInfo said, and what it is
        self._waited = False
        self._before: tuple[Any, int, int] | None = None  # header and size of the image before
        self._distortion_said = False
        self._frames_said = False

    def camera(self, header: Any, width: int, height: int, training_fx: float) -> Calibrated | None:
        """The camera of an image by its CameraInfo; None, and a warning, without a usable one."""
        info = self._info(header, width, height)
        said = None if info is None else (contents(info), header.frame_id, width, height)
        if self._known is None or self._known[0] != said:
            calibrated = self._calibrated(info, header, width, height, training_fx)
            self._known = None if calibrated is None else (said, calibrated)
        return None if self._known is None else self._known[1]

    def _calibrated(
        self, info: Any | None, header: Any, width: int, height: int, training_fx: float
    ) -> Calibrated | None:
        try:
            if info is None:
                raise CameraError(self._why_no_info(header.frame_id))
            camera = camera_model(info, width, height, is_rectified(self._inputs.topics[RAW]))
        except (CameraError, MessageError) as error:
            if info is not None:
                self._health.info_refused()
            text = (
                f"depth is as at the training focal length ({training_fx:.1f} px at network size), "
                f"and so wrong by a factor for other cameras: {error}"
            )
            if self._health.trouble("camera_info", Level.WARN, text):
                self._log.warning(text)
            self._health.focal_length("assumed: training focal length")
            return None
        if self._health.clear_trouble("camera_info"):
            self._log.info(f"CameraInfo on {self._inputs.info_topic} is used: depth is metric now")
        self._health.focal_length(f"{camera.fx:.2f} px from {self._inputs.info_topic}")
        topic = self._inputs.topics[RAW]
        if any(info.d) and not is_rectified(topic) and not self._distortion_said:
            self._distortion_said = True
            self._log.info(
                f"the camera of {topic} has lens distortion and the topic looks unrectified: depth belongs to the "
                "image as it is, points bend towards the edges; use image_rect of image_proc if that matters"
            )
        if info.header.frame_id != header.frame_id and not self._frames_said:
            self._frames_said = True
            self._log.warning(
                f"CameraInfo on {self._inputs.info_topic} has frame_id {info.header.frame_id!r}, the image "
                f"{header.frame_id!r}: taken for one camera's, as there is no other; make them equal"
            )
        return Calibrated(info, camera, header.frame_id)

    def _info(self, header: Any, width: int, height: int) -> Any | None:
        before, self._before = self._before, (header, width, height)
        if self._infos.match(header) is None:
            if not self._waited and self._inputs.camera_info_published():
                # Once: a camera's first CameraInfo often comes a moment after its first image.
                self._waited = True
                self._infos.wait_for(header, _INFO_WAIT_S)
        elif before is not None and before[1:] != (width, height) and self._infos.has_exact(before[0]):
            # The one before may be of the old size, and nothing says whether the camera resizes or crops now. A camera
            # whose CameraInfo has no stamps of images is not waited for.
            self._infos.wait_for_exact(header, _INFO_WAIT_S)
        return self._infos.match(header)

    def _why_no_info(self, frame_id: str) -> str:
        others = self._infos.frames()
        topic = self._inputs.info_topic
        if others:
            return f"CameraInfo on {topic} has the frame_ids {', '.join(others)}, none the image's {frame_id!r}"
        if self._inputs.camera_info_published():
            return f"no CameraInfo came on {topic} yet"
        return f"nothing publishes CameraInfo on {topic}; remap it with -r {self._inputs.camera.camera_info}:=..."
