"""TensorRTSession and open_engine on a stand-in for NVIDIA's driver, in a process of their own: no GPU is needed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import hybridnet_ros

FOLDER = Path(__file__).with_name("cpu_driver")
REPOSITORY = Path(hybridnet_ros.__file__).parents[1]
COMPILER = shutil.which("g++") or shutil.which("clang++")


@pytest.fixture(scope="module")
def driver(tmp_path_factory) -> Path:
    """The folder of a libcuda.so.1 that runs our kernels on the CPU."""
    folder = tmp_path_factory.mktemp("driver")
    command = [
        COMPILER, "-std=c++17", "-O1", "-ffp-contract=off", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1",
        f'-DKERNELS="{REPOSITORY / "hybridnet_ros" / "engine" / "resize.cu"}"',
        "-o", folder / "libcuda.so.1", FOLDER / "libcuda.cpp", "-ldl",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.skipif(COMPILER is None, reason="no C++ compiler to build the stand-in driver with")
def test_session_on_a_driver_that_computes_on_the_cpu(driver):
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": os.pathsep.join(filter(None, [str(driver), os.environ.get("LD_LIBRARY_PATH")])),
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "test"), str(FOLDER)]),
    }
    options = ["-q", "-p", "no:cacheprovider", "-p", "clean_gpu", "-c", os.devnull]
    checks = [sys.executable, "-m", "pytest", *options, *sorted(FOLDER.glob("*_checks.py"))]
    done = subprocess.run(checks, env=environment, cwd=FOLDER, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout and " skipped" not in done.stdout
