"""Imports run down only, and ROS is imported in one room, as the README's page on architecture has it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "hybridnet_ros").rglob("*.py"))
ROS = {"builtin_interfaces", "diagnostic_msgs", "lifecycle_msgs", "rcl_interfaces", "rclpy", "rosgraph_msgs",
       "sensor_msgs", "std_msgs", "std_srvs", "vision_msgs"}  # fmt: skip
FORBIDDEN = {
    "scene": {"engine", "messages", "node", "offline", "pages", "benchmark", "demo", "cli", "info", "engines"},
    "engine": {"messages", "node", "offline", "pages", "benchmark", "demo", "cli", "info", "engines"},
    "messages": {"engine", "node", "offline", "pages", "benchmark", "demo", "cli", "info", "engines"},
    "node": {"offline", "pages", "benchmark", "demo", "cli", "info", "engines"},
    "offline": {"node", "benchmark", "demo", "cli", "info", "engines"},
}
"""What each room must not import of ours."""


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level:
            assert node.level == 1 and path.parent.parent.name == "hybridnet_ros", f"{path} reaches out of its room"
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(ROOT)) for path in FILES])
def test_imports_run_down_only(path: Path) -> None:
    room = path.relative_to(ROOT / "hybridnet_ros").parts[0]
    names = imported(path)
    tops = {name.split(".")[0] for name in names}
    assert "training" not in tops and "torch" not in tops
    assert room == "node" or not tops & ROS, f"{path} imports {tops & ROS}: ROS belongs to node/"
    ours = {name.split(".")[1] for name in names if name.startswith("hybridnet_ros.")}
    assert not ours & FORBIDDEN.get(room, set()), f"{path} imports {ours & FORBIDDEN.get(room, set())}"
