"""The RViz configuration and the Foxglove layout use only classes, properties and settings that these programs have.

Neither program runs in the tests. The names below are those in the sources of rviz_default_plugins and of the
last open version of Foxglove Studio; that the topics are the node's is tested in test/node.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

CONFIG = Path(__file__).resolve().parents[2] / "config"

EVERY_DISPLAY = {"Class", "Enabled", "Name", "Value"}
TOPIC = {"Depth", "Durability Policy", "History Policy", "Reliability Policy", "Value", "Filter size"}
RVIZ_DISPLAYS = {
    "rviz_default_plugins/Grid": {
        "Alpha", "Cell Size", "Color", "Line Style", "Normal Cell Count", "Offset", "Plane", "Plane Cell Count",
        "Reference Frame",
    },
    "rviz_default_plugins/Image": {"Max Value", "Median window", "Min Value", "Normalize Range", "Topic"},
    "rviz_default_plugins/PointCloud2": {
        "Alpha", "Color Transformer", "Decay Time", "Position Transformer", "Selectable", "Size (Pixels)", "Size (m)",
        "Style", "Topic", "Use Fixed Frame", "Use rainbow", "Channel Name", "Invert Rainbow", "Min Color", "Max Color",
        "Autocompute Intensity Bounds", "Min Intensity", "Max Intensity", "Autocompute Value Bounds", "Axis",
    },
    "rviz_default_plugins/TF": {
        "Frame Timeout", "Frames", "Marker Scale", "Show Arrows", "Show Axes", "Show Names", "Tree", "Update Interval",
    },
}  # fmt: skip
RVIZ_TOOLS = {"FocusCamera", "Interact", "Measure", "MoveCamera", "PublishPoint", "Select", "SetGoal"}
IMAGE_MODE = {
    "annotations", "calibrationTopic", "colorMap", "colorMode", "explicitAlpha",
    "flipHorizontal", "flipVertical", "gradient", "imageTopic", "maxValue", "minValue", "rotation", "synchronize",
}  # fmt: skip
PANELS = {
    "3D": {"cameraState", "followMode", "followTf", "layers", "publish", "scene", "topics", "transforms"},
    "Image": {"imageMode"},
    "DiagnosticSummary": {"hardwareIdFilter", "minLevel", "pinnedIds", "sortByLevel", "topicToRender"},
    "RawMessages": {"topicPath"},
    "Tab": {"activeTabIdx", "tabs"},
}


def test_rviz_has_every_class_and_property() -> None:
    manager = yaml.safe_load((CONFIG / "rviz" / "hybridnet.rviz").read_text())["Visualization Manager"]
    for display in manager["Displays"]:
        known = RVIZ_DISPLAYS[display["Class"]] | EVERY_DISPLAY
        assert set(display) <= known, display["Name"]
        assert set(display.get("Topic", {})) <= TOPIC, display["Name"]
    tools = {tool["Class"].removeprefix("rviz_default_plugins/") for tool in manager["Tools"]}
    assert tools <= RVIZ_TOOLS


def test_foxglove_has_every_panel_and_setting() -> None:
    layout: dict[str, Any] = json.loads((CONFIG / "foxglove" / "hybridnet.json").read_text())
    for name, panel in layout["configById"].items():
        kind = name.split("!")[0]
        assert set(panel) <= PANELS[kind], name
        assert set(panel.get("imageMode", {})) <= IMAGE_MODE, name
