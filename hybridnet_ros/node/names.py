"""The names of the node's cameras and outputs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

OUTPUTS = (
    # CameraInfo first: consumers that pair it with an image find it there when the image comes.
    "depth/camera_info",
    "segmentation/camera_info",
    "depth/image",
    "segmentation/mask",
    "segmentation/confidence",
    "segmentation/label_info",
    "segmentation/color",
    "depth/color",
    "points",
)
"""What is published for each camera below `~/`, in this order."""

NODE_TASK = "perception"
"""What the status of the node itself is called on /diagnostics; that of a camera is called like the camera."""

_NAME = re.compile("[A-Za-z][A-Za-z0-9_]*")
_TOPIC = re.compile("/?[A-Za-z][A-Za-z0-9_]*(/[A-Za-z][A-Za-z0-9_]*)+|/[A-Za-z][A-Za-z0-9_]*")


@dataclass(frozen=True)
class CameraName:
    """What a camera is called and where its images are.

    Attributes:
        name: as in `~/NAME/depth/image`; "" for the only camera, whose outputs are in `~/`.
        image: the topic of its images, before remapping.
    """

    name: str
    image: str

    @property
    def camera_info(self) -> str:
        """The topic of its CameraInfo, before remapping: beside the images."""
        folder, slash, _ = self.image.rpartition("/")
        return f"{folder}{slash}camera_info"

    def output(self, name: str) -> str:
        """The topic of one of OUTPUTS."""
        return f"~/{self.name}/{name}" if self.name else f"~/{name}"


def named_cameras(entries: Iterable[str]) -> list[CameraName]:
    """The cameras that the parameter `cameras` lists.

    Raises:
        ValueError: an entry is neither a name nor a topic, or two have the same name; says which.
    """
    cameras: dict[str, CameraName] = {}
    entries = list(entries)
    if not entries:
        raise ValueError("list at least one; one camera on the topic image is ['']")
    for entry in entries:
        if not entry and len(entries) == 1:
            camera = CameraName("", "image")
        elif _NAME.fullmatch(entry):
            camera = CameraName(entry, f"{entry}/image")
        elif _TOPIC.fullmatch(entry):
            folders = entry.strip("/").split("/")
            camera = CameraName("_".join(folders[:-1]) or folders[0], entry)
        else:
            raise ValueError(
                f"{entry!r} is neither a name, as front, nor an image topic, as /front/image_raw"
                + ("" if entry else "; only the one camera of a node may have no name")
            )
        if camera.name == NODE_TASK:
            raise ValueError(f"no camera can be called {NODE_TASK!r}: the node itself is called so on /diagnostics")
        other = cameras.setdefault(camera.name, camera)
        if other is not camera:
            raise ValueError(
                f"{other.image!r} and {camera.image!r} are both called {camera.name!r}: give them names "
                f"of your own and remap their topics, as cameras:=[left,right] -r left/image:={other.image}"
            )
    return list(cameras.values())
