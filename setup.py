"""Installs hybridnet_ros for colcon (ament_python) and for pip alike.

The metadata is here and not in pyproject.toml because Ubuntu 22.04's setuptools (59) does not read it there.
"""

import os
from pathlib import Path
from xml.etree import ElementTree

from setuptools import find_packages, setup

NAME = "hybridnet_ros"
# `colcon build --symlink-install` runs this file through a link in its build folder.
ROOT = Path(__file__).resolve().parent
MANIFEST = ElementTree.parse(ROOT / "package.xml").getroot()


def data_files():
    """(folder of the installation, files) for everything that is not code; resources.share_path finds it there."""
    yield "share/ament_index/resource_index/packages", [f"resource/{NAME}"]
    yield f"share/{NAME}", ["package.xml", "LICENSE"]
    for top in ("config", "demo", "engines", "launch"):
        for folder, _, names in os.walk(ROOT / top):
            relative = Path(folder).relative_to(ROOT).as_posix()
            files = [f"{relative}/{name}" for name in sorted(names) if not name.endswith((".pyc", ".pyo"))]
            if files:
                yield f"share/{NAME}/{relative}", files


RUN_TIME = [
    "jsonschema>=3.2",
    "numpy>=1.21",
    "onnxruntime>=1.14",
    # Not opencv-python: its Qt needs libGL, libglib and libxcb of the system, which a machine without a desktop lacks
    # and only root can install. The cv2 module is the same less the windows, which nothing here opens.
    "opencv-python-headless>=4.5",
    "PyYAML>=5.4",
]
EXTRAS = {
    # ROS 2 Jazzy from wheels, for machines without a ROS installation.
    "ros": [
        "ros-jazzy-diagnostic-msgs==5.3.6",
        "ros-jazzy-rclpy==7.1.6",
        "ros-jazzy-rmw-fastrtps-cpp==8.4.3",
        "ros-jazzy-sensor-msgs==5.3.6",
    ],
    # Bags without ROS, and pages about them: `hybridnet demo`.
    "offline": ["jinja2>=3.0", "rosbags>=0.10.4,<0.12"],
    # `hybridnet view`, in a window and as a video. The viewer needs NumPy 2, which a ROS installation may not have.
    "view": ["av>=12", "rerun-sdk>=0.28"],
    # Beside TensorRT or TensorRT-RTX: cuda-bindings to run plans (version 12 works with newer drivers too, 13 with no
    # older ones), onnx to build them.
    "tensorrt": ["cuda-bindings>=11.8,<13", "onnx>=1.14"],
    # The runtime `openvino`: on processors with bfloat16 faster than ONNX Runtime.
    "openvino": ["openvino>=2024.4"],
    # `hybridnet benchmark`: the network's arithmetic, and a GPU's power and memory.
    "benchmark": ["nvidia-ml-py", "onnx>=1.14"],
    # `hybridnet evaluate-bag --ray`: many recordings on many machines.
    "ray": ["ray>=2.9"],
    # Decodes JPEG faster than OpenCV, and refuses damaged ones.
    "jpeg": ["simplejpeg>=1.7.1"],
    # Memory and temperature of the GPU on /diagnostics.
    "gpu": ["nvidia-ml-py>=12"],
    "training": [
        "jinja2>=3.0",
        "onnx>=1.14",
        "onnxscript",
        "pydantic>=2",
        "safetensors",
        "tensorboard",
        "timm>=1.0,<1.1",
        "torch>=2.2",
        "tqdm",
    ],
    "test": [
        "cityscapesScripts>=2.2",
        "cuda-bindings>=11.8",
        "hypothesis",
        "mypy>=1.10,<3",
        "onnx>=1.14",
        "openvino>=2024.4",
        "pytest>=7",
        "ruff>=0.17,<0.18",
        "simplejpeg>=1.7.1",
        "setuptools>=70.1",
        # Builds plans without a GPU.
        "tensorrt-rtx-cu13==1.7.1.116; platform_machine == 'x86_64'",
        # The one that the tests were run with; a newer one may bring gigabytes of CUDA along.
        "torch==2.13.0",
    ],
    "dev": ["pre-commit"],
}

setup(
    name=NAME,
    version=MANIFEST.findtext("version"),
    description=" ".join(MANIFEST.findtext("description").split()),
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    maintainer=MANIFEST.findtext("maintainer"),
    maintainer_email=MANIFEST.find("maintainer").get("email"),
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={
        NAME: [
            "engine/*.json",
            "engine/*.ptx",
            "demo/*.j2",
            "offline/*.j2",
            "pages/*.j2",
            "py.typed",
        ]
    },
    data_files=list(data_files()),
    python_requires=">=3.10",
    install_requires=RUN_TIME,
    extras_require=EXTRAS,
    zip_safe=False,
    entry_points={
        "console_scripts": [
            "hybridnet = hybridnet_ros.cli:main",
            "hybridnet_node = hybridnet_ros.node.perception_node:main",
        ]
    },
)
