"""The launch file: what can be read of it anywhere, and a real launch where `launch` is installed (PyPI has none)."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tiny import write_tiny_engine

ROOT = Path(__file__).resolve().parents[1]
LAUNCH_FILE = ROOT / "launch" / "hybridnet.launch.py"
EXPECTED = {
    "params_file", "log_level", "autostart", "use_sim_time", "namespace", "name", "image", "camera_info", "cameras",
    "engine", "runtime", "dds_profile",
}  # fmt: skip

RUN = f"""
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
arguments = [tuple(argument.split(":=")) for argument in sys.argv[1:]]
source = PythonLaunchDescriptionSource({str(LAUNCH_FILE)!r})
service = LaunchService()
service.include_launch_description(LaunchDescription([IncludeLaunchDescription(source, launch_arguments=arguments)]))
sys.exit(service.run())
"""


def declared() -> dict[str, dict[str, ast.expr]]:
    """The keywords of each DeclareLaunchArgument in the file, by the argument's name."""
    calls = [node for node in ast.walk(ast.parse(LAUNCH_FILE.read_text())) if isinstance(node, ast.Call)]
    return {
        call.args[0].value: {keyword.arg: keyword.value for keyword in call.keywords}
        for call in calls
        if isinstance(call.func, ast.Name) and call.func.id == "DeclareLaunchArgument"
    }


def test_every_argument_has_a_default_and_a_sentence_that_describes_it() -> None:
    compile(LAUNCH_FILE.read_text(), str(LAUNCH_FILE), "exec")
    arguments = declared()
    assert set(arguments) == EXPECTED
    for name, keywords in arguments.items():
        assert "default_value" in keywords, name
        description = keywords["description"].value
        assert description[0].isupper(), name
        assert description.endswith("."), name
        assert "\n" not in description, name


def test_every_argument_is_used() -> None:
    text = LAUNCH_FILE.read_text().split("def start_node")[1]
    for name in EXPECTED:
        assert f'"{name}"' in text, name


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder that looks to launch like the prefix into which this checkout was installed."""
    marker = tmp_path / "share/ament_index/resource_index/packages/hybridnet_ros"
    marker.parent.mkdir(parents=True)
    marker.touch()
    executable = tmp_path / "lib/hybridnet_ros/hybridnet_node"
    executable.parent.mkdir(parents=True)
    entry = "import sys; from hybridnet_ros.node.perception_node import main; sys.exit(main())"
    executable.write_text(f"#!{sys.executable}\n{entry}\n")
    executable.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize(
    "argument, heard",
    [
        ("image:=/cam/image_raw", "/cam/image_raw and /cam/camera_info"),
        (
            "cameras:=[/left/image_raw, /right/image_raw]",
            "/left/image_raw and /left/camera_info and /right/image_raw and /right/camera_info",
        ),
    ],
)
def test_a_launch_starts_the_node_with_its_arguments(installed: Path, argument: str, heard: str) -> None:
    pytest.importorskip("launch_ros", reason="launch_ros comes with ROS installations only")
    engine = write_tiny_engine(installed)
    parameters = installed / "parameters.yaml"
    parameters.write_text("/**:\n  ros__parameters:\n    engine: overridden\n    input_transport: raw\n")
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        "AMENT_PREFIX_PATH": f"{installed}{os.pathsep}{os.environ.get('AMENT_PREFIX_PATH', '')}",
        "ROS_LOG_DIR": str(installed / "log"),
        "ROS_DOMAIN_ID": os.environ.get("ROS_DOMAIN_ID", str(1 + os.getpid() % 100)),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
    }
    arguments = [f"engine:={engine}", f"params_file:={parameters}", "namespace:=front", argument]
    log = installed / "output"
    with log.open("wb") as output:
        launch = subprocess.Popen(
            [sys.executable, "-c", RUN, *arguments],
            stdout=output,
            stderr=output,
            env=environment,
            start_new_session=True,
        )
    try:
        end = time.monotonic() + 60
        while "listening on" not in log.read_text() and launch.poll() is None and time.monotonic() < end:
            time.sleep(0.1)
        os.killpg(launch.pid, signal.SIGINT)  # as a terminal does
        assert launch.wait(30) == 0, log.read_text()
    finally:
        if launch.poll() is None:
            os.killpg(launch.pid, signal.SIGKILL)
    text = log.read_text()
    assert f"[front.hybridnet]: listening on {heard}, runs tiny" in text, text
    assert "process has finished cleanly" in text, text
    assert "Traceback" not in text
