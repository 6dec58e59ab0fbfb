"""Shows image, depth, labels and points in one window of the rerun viewer, or writes them to a file for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hybridnet_ros.engine import Manifest
from hybridnet_ros.messages import make_points
from hybridnet_ros.offline.seeing import Seen

_CAMERA = "camera"
_IMAGE, _DEPTH, _LABELS, _CONFIDENCE = (f"{_CAMERA}/{name}" for name in ("image", "depth", "labels", "confidence"))
_POINTS, _TIMELINE = "points", "stamp"


class RerunError(Exception):
    """The viewer cannot be used; the message says what to do."""


class RerunWindow:
    """A window of the rerun viewer, or a file for it; use it for one recording."""

    def __init__(self, name: str, engine: Manifest, save: Path | None, every: int) -> None:
        """Opens the window.

        Args:
            name: title of the recording.
            engine: knows names and colours of the classes, and how far its depth goes.
            save: write to this .rrd file and open no window.
            every: points of every so many rows and columns.

        Raises:
            RerunError: rerun is not installed, or its viewer does not start.
            OSError: the file cannot be written.
        """
        try:
            import rerun
        except ImportError:
            raise RerunError("looking at a recording needs the package rerun-sdk: pip install rerun-sdk") from None
        self._rerun = rerun
        self._far = engine.shown_depth[1]
        self._every = every
        self._stream = rerun.RecordingStream("hybridnet")
        if save is not None:
            save.open("ab").close()  # rerun does not say why it cannot write
            self._stream.save(save)
        else:
            try:
                self._stream.spawn()
            except RuntimeError as error:
                raise RerunError(
                    f"the rerun viewer does not start ({error}); without a screen, write a file with --save"
                ) from error
        self._stream.send_recording_name(name)
        self._stream.send_blueprint(_layout())
        labels = engine.labels
        classes = [(number, *each) for number, each in enumerate(zip(labels.names, labels.colors, strict=True))]
        self._stream.log(
            "/", rerun.AnnotationContext([*classes, (labels.ignore, "unlabelled", (0, 0, 0))]), static=True
        )
        # x to the right, y down, z forward: the optical frame of ROS.
        self._stream.log("/", rerun.ViewCoordinates.RDF, static=True)

    def show(self, seen: Seen) -> None:
        """Add one image and what was seen in it, at the time of its stamp."""
        rerun, log, view = self._rerun, self._stream.log, seen.view
        self._stream.set_time(_TIMELINE, timestamp=np.datetime64(seen.stamp_ns, "ns"))
        log(_IMAGE, rerun.Image(seen.rgb).compress(jpeg_quality=90))
        # 0 is no depth to rerun; infinite ones would stretch its colours.
        depth = np.where(np.isfinite(view.depth), view.depth, np.float32(0))
        log(_DEPTH, rerun.DepthImage(depth, meter=1.0, depth_range=(0.0, self._far), colormap="turbo"))
        log(_LABELS, rerun.SegmentationImage(view.labels))
        log(_CONFIDENCE, rerun.Image(view.confidence, "L"))
        if seen.camera is not None:
            cloud = make_points(view.depth, seen.rgb, view.labels, view.confidence, seen.camera)
            points = cloud[:: self._every, :: self._every]
            known = np.isfinite(points["z"])
            places = np.stack([points[axis][known] for axis in "xyz"], axis=-1)
            colors = seen.rgb[:: self._every, :: self._every][known]
            log(_POINTS, rerun.Points3D(places, colors=colors, radii=rerun.Radius.ui_points(1.5)))

    def close(self) -> None:
        """Hand over everything that is still on its way."""
        self._stream.flush()
        self._stream.disconnect()


def _layout() -> Any:
    """Points on the left; image, depth and labels on the right."""
    import rerun.blueprint as rrb

    pictures = (("image", _IMAGE), ("depth in metres", _DEPTH), ("labels", _LABELS))
    return rrb.Blueprint(
        rrb.Horizontal(
            rrb.Spatial3DView(origin="/", contents=[f"/{_POINTS}"], name="points"),
            rrb.Vertical(*(rrb.Spatial2DView(origin=f"/{path}", name=name) for name, path in pictures)),
        ),
        rrb.BlueprintPanel(state="collapsed"),
        rrb.SelectionPanel(state="collapsed"),
        rrb.TimePanel(state="collapsed", timeline=_TIMELINE),
    )
