"""The package as it is installed: by pip from a source distribution, and by colcon, with all its files."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from xml.etree import ElementTree

import numpy
import pytest

from hybridnet_ros.cli import COMMANDS
from tiny import write_tiny_engine

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ("config", "demo", "engines", "launch")
LEFT_OUT = shutil.ignore_patterns(
    ".*", "__pycache__", "*.egg-info", "build", "install", "log", "dist", "runs", "demo_output"
)


def run(*command: str | Path, cwd: Path, path: Path | None = None) -> str:
    """Standard output of a command that must succeed."""
    # Where ROS's libraries are, as its setup.bash or the ROS wheels have told this process.
    kept = {
        name: os.environ[name] for name in ("LD_LIBRARY_PATH", "_ROS_WHEELS_BOOTSTRAP_COMPLETE") if name in os.environ
    }
    environment = {**kept, "PATH": "/usr/bin:/bin", "HOME": str(cwd), **({"PYTHONPATH": str(path)} if path else {})}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def shipped_files(root: Path) -> dict[str, int]:
    """Size of everything that belongs into share/hybridnet_ros, by its path below `root`."""
    files = [path for top in SHIPPED for path in (root / top).rglob("*") if path.is_file() and path.suffix != ".pyc"]
    return {str(path.relative_to(root)): path.stat().st_size for path in files}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout, so that building leaves nothing behind."""
    return Path(shutil.copytree(ROOT, tmp_path_factory.mktemp("source") / "checkout", ignore=LEFT_OUT))


@pytest.fixture(scope="module")
def environment(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel that pip makes of the source distribution."""
    folder = tmp_path_factory.mktemp("pip")
    run(sys.executable, "setup.py", "-q", "sdist", "--dist-dir", folder, cwd=source)
    (archive,) = folder.glob("*.tar.gz")
    run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        folder,
        archive,
        cwd=folder,
    )
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    python = folder / "venv" / "bin" / "python"
    # What we need to run is where the tests have it; nothing is downloaded.
    purelib = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    lenders = {str(Path(numpy.__file__).parents[1]), sysconfig.get_path("purelib")}
    (purelib / "borrowed.pth").write_text("".join(f"import site; site.addsitedir({each!r})\n" for each in lenders))
    (wheel,) = folder.glob("*.whl")
    run(python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", wheel, cwd=folder)
    return folder / "venv"


def test_pip_installs_every_shipped_file(environment: Path) -> None:
    share = environment / "share"
    assert shipped_files(share / "hybridnet_ros") == shipped_files(ROOT)
    assert (share / "hybridnet_ros" / "package.xml").read_bytes() == (ROOT / "package.xml").read_bytes()
    assert (share / "ament_index" / "resource_index" / "packages" / "hybridnet_ros").is_file()


def test_pip_installs_commands_that_find_the_shipped_files(environment: Path, tmp_path: Path) -> None:
    out = run(environment / "bin" / "hybridnet", "info", write_tiny_engine(tmp_path), cwd=tmp_path)
    assert f"shipped files in {environment / 'share' / 'hybridnet_ros'}" in out
    for command in COMMANDS:
        run(environment / "bin" / "hybridnet", command, "--help", cwd=tmp_path)
    assert "image:=" in run(environment / "bin" / "hybridnet_node", "--help", cwd=tmp_path)


def test_pip_installs_no_code_of_ours_but_the_package(environment: Path) -> None:
    (record,) = environment.rglob("hybridnet_ros-*.dist-info/RECORD")
    tops = {line.split("/")[0] for line in record.read_text().splitlines()}
    assert {top for top in tops if not top.startswith("hybridnet_ros-")} == {"..", "hybridnet_ros"}
    assert (record.parent / "LICENSE").is_file() or (record.parent / "licenses" / "LICENSE").is_file()


def test_colcon_finds_the_node_where_ros2_run_looks(source: Path, tmp_path: Path) -> None:
    prefix = tmp_path / "install"
    # The command that colcon runs for ament_python packages.
    run(
        *(sys.executable, "setup.py", "-q", "build", "--build-base", tmp_path / "build", "install", "--prefix", prefix),
        *("--record", tmp_path / "install.log", "--single-version-externally-managed", "install_data", "--force"),
        cwd=source,
    )
    assert {path.name for path in (prefix / "lib" / "hybridnet_ros").iterdir()} == {"hybridnet", "hybridnet_node"}
    assert (prefix / "share" / "ament_index" / "resource_index" / "packages" / "hybridnet_ros").is_file()
    assert shipped_files(prefix / "share" / "hybridnet_ros") == shipped_files(ROOT)
    packages = next(prefix.glob("**/hybridnet_ros/resources.py")).parents[1]
    program = "from hybridnet_ros.resources import share_path; print(share_path('config', 'hybridnet.yaml'))"
    found = run(sys.executable, "-c", program, cwd=tmp_path, path=packages).strip()
    assert found == str(prefix / "share" / "hybridnet_ros" / "config" / "hybridnet.yaml")


@pytest.fixture(scope="module")
def manifest() -> ElementTree.Element:
    return ElementTree.parse(ROOT / "package.xml").getroot()


def test_package_xml_is_format_3_and_of_the_version_of_setup_py(manifest: ElementTree.Element, source: Path) -> None:
    assert (manifest.tag, manifest.get("format")) == ("package", "3")
    assert manifest.findtext("name") == "hybridnet_ros"
    assert manifest.findtext("export/build_type") == "ament_python"
    version = run(sys.executable, "setup.py", "-q", "--version", cwd=source).split()[-1]
    assert manifest.findtext("version") == version


def test_package_xml_names_licence_files_that_exist(manifest: ElementTree.Element) -> None:
    licences = manifest.findall("license")
    assert [licence.text for licence in licences] == ["Apache-2.0", "CC-BY-NC-SA-3.0"]
    assert all((ROOT / licence.get("file", "none")).is_file() for licence in licences)


def test_package_xml_depends_on_every_ros_package_that_is_imported(manifest: ElementTree.Element) -> None:
    imported = imports_below(ROOT / "hybridnet_ros") | imports_below(ROOT / "launch")
    ros = {name for name in imported if name.endswith(("_msgs", "_interfaces", "_srvs")) or name.startswith("launch")}
    ros |= imported & {"rclpy", "cv_bridge", "sensor_msgs_py"}
    depends = {element.text for element in manifest.findall("exec_depend")}
    assert {"rclpy", "sensor_msgs", "cv_bridge", "sensor_msgs_py", "vision_msgs"} <= ros <= depends


def imports_below(folder: Path) -> set[str]:
    """Top-level names of all modules imported below `folder`."""
    names = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.split(".")[0])
    return names
