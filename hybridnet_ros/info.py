"""`hybridnet info`: what is installed, what will run an engine, and what is missing."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from hybridnet_ros.engine import EngineError, ManifestError, open_engine
from hybridnet_ros.engine.gpu_report import describe_gpu, describe_plans
from hybridnet_ros.resources import ResourceError, share_path

DESCRIPTION = """\
Says what an engine would run on here, which GPU, TensorRT and plans there are for it, and which of the packages that
hybridnet_ros can use are installed. The exit code is 0 only if the engine opens. What the engine is, `hybridnet engines
describe` says.
"""
EXAMPLES = """\
examples:
  hybridnet info                     the engine that is shipped
  hybridnet info my_network.onnx     another one, with its .json beside it
"""


@dataclass(frozen=True)
class Package:
    """Something we can use: its module, its name on PyPI where it has one, and what is missing without it."""

    module: str
    distribution: str
    without: str
    needed: bool = False


PACKAGES = (
    Package("numpy", "numpy", "nothing works", needed=True),
    Package("cv2", "opencv-python-headless", "nothing works", needed=True),
    Package("jsonschema", "jsonschema", "no manifest can be read", needed=True),
    Package("yaml", "PyYAML", "no configuration can be read", needed=True),
    Package("onnxruntime", "onnxruntime", "no ONNX engine runs", needed=True),
    Package("onnx", "onnx", "no TensorRT plan can be built"),
    Package("openvino", "openvino", "no runtime openvino, which is faster on processors with bfloat16"),
    Package("rclpy", "ros-jazzy-rclpy", "no node: source a ROS 2 installation, or `pip install '.[ros]'`"),
    Package("cv_bridge", "", "OpenCV converts unusual image encodings instead"),
    Package("sensor_msgs_py", "", "NumPy packs point clouds instead"),
    Package("vision_msgs", "", "no segmentation/label_info topic"),
    Package("rosbags", "rosbags", "no bag is read without ROS, so no `hybridnet demo`"),
    Package("rerun", "rerun-sdk", "no window of `hybridnet view`"),
    Package("av", "av", "no video of `hybridnet view`"),
    Package("jinja2", "Jinja2", "no pages, so no `hybridnet demo`"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    parser.add_argument("engine", nargs="?", default="driving", help="name of a shipped engine or path (driving)")
    parser.add_argument("--runtime", default="auto", help="what to run it with (auto)")


def main(arguments: argparse.Namespace) -> int:
    """Print everything; returns the exit code."""
    for line in describe_installation():
        print(line)
    print()
    try:
        for line in describe_engine(arguments.engine, arguments.runtime):
            print(line)
    except (EngineError, ManifestError) as error:
        print(f"engine {arguments.engine} cannot be used: {error}", file=sys.stderr)
        return 1
    return 0


def describe_installation() -> Iterator[str]:
    """Lines about this program, this machine and the packages."""
    yield f"hybridnet_ros {_version('hybridnet_ros') or '(not installed: running from a checkout)'}"
    yield f"Python {platform.python_version()} at {sys.executable}, {len(os.sched_getaffinity(0))} cores"
    ros = os.environ.get("ROS_DISTRO")
    yield f"ROS 2 {ros} is sourced" if ros else "no ROS 2 installation is sourced"
    try:
        yield f"shipped files in {share_path('config').parent}"
    except ResourceError as error:
        yield f"warning: {error}"
    yield from describe_gpu()
    for package in PACKAGES:
        yield _describe_package(package)


def describe_engine(name_or_path: str, runtime: str) -> Iterator[str]:
    """Lines about an engine, opened for it.

    Raises:
        EngineError: it does not open, or `runtime` is none.
        ManifestError: it does not match its manifest.
    """
    with open_engine(name_or_path, runtime) as engine:
        manifest = engine.manifest
        yield f"engine {name_or_path}: {engine.description}"
    yield from describe_plans(manifest)


def _describe_package(package: Package) -> str:
    try:
        module = importlib.import_module(package.module)
    except ModuleNotFoundError as error:
        if error.name != package.module:
            return f"  {package.module:<15} is broken: {error}"
        return f"  {package.module:<15} {'MISSING' if package.needed else 'not installed'}: {package.without}"
    except (ImportError, OSError, AttributeError) as error:
        # For instance a cv_bridge compiled for NumPy 1 beside NumPy 2, or an OpenCV without its system libraries.
        return f"  {package.module:<15} is broken, as if it were missing ({package.without}): {error}"
    version = getattr(module, "__version__", None) or _version(package.distribution)
    return f"  {package.module:<15} {version or 'installed'}"


def _version(distribution: str) -> str | None:
    if not distribution:
        return None
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
