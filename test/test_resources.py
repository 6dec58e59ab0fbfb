"""Shipped files are found wherever the package was installed, by any installer."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import hybridnet_ros
from hybridnet_ros.resources import ResourceError, share_path

PACKAGE = Path(hybridnet_ros.__file__).parent


def install(site: Path, share: Path) -> None:
    """Puts the two things that matter where an installer would: the module, and a shipped file."""
    (site / "hybridnet_ros").mkdir(parents=True)
    for name in ("__init__.py", "resources.py"):
        shutil.copy(PACKAGE / name, site / "hybridnet_ros")
    (share / "config").mkdir(parents=True)
    (share / "config" / "found.yaml").write_text("here: true\n")


def ask(site: Path, *parts: str) -> str:
    """What share_path says in a fresh interpreter that has `site` on its path."""
    code = (
        f"from hybridnet_ros.resources import *\ntry: print(share_path(*{parts}))\nexcept ResourceError as e: print(e)"
    )
    environment = {**os.environ, "PYTHONPATH": str(site)}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd="/", capture_output=True, text=True, check=True
    ).stdout.strip()


def test_a_checkout_has_them_beside_the_package():
    assert share_path("config", "labels", "cityscapes19.yaml").is_file()
    assert share_path("config").is_dir()


@pytest.mark.parametrize(
    ("site", "share"),
    [
        ("venv/lib/python3.10/site-packages", "venv/share/hybridnet_ros"),
        ("usr/local/lib/python3.10/dist-packages", "usr/local/share/hybridnet_ros"),
        ("home/.local/lib/python3.10/site-packages", "home/.local/share/hybridnet_ros"),
        ("target", "target/share/hybridnet_ros"),
        ("install/hybridnet_ros/lib/python3.10/site-packages", "install/hybridnet_ros/share/hybridnet_ros"),
        ("install/lib/python3.10/site-packages", "install/share/hybridnet_ros"),
    ],
    ids=["venv", "system", "user", "target", "colcon", "colcon --merge-install"],
)
def test_an_installation_has_them_in_share(tmp_path, site, share):
    install(tmp_path / site, tmp_path / share)
    assert ask(tmp_path / site, "config", "found.yaml") == str(tmp_path / share / "config" / "found.yaml")


def test_a_symlinked_package_finds_them_in_its_checkout(tmp_path):
    checkout, build = tmp_path / "checkout", tmp_path / "build"
    install(checkout, checkout)
    (checkout / "package.xml").touch()
    build.mkdir()
    (build / "hybridnet_ros").symlink_to(checkout / "hybridnet_ros")
    assert ask(build, "config", "found.yaml") == str(checkout / "config" / "found.yaml")


def test_files_of_others_beside_an_installed_package_are_not_taken_for_ours(tmp_path):
    install(tmp_path, tmp_path)  # site-packages/config belongs to somebody else: there is no package.xml
    assert "is not installed" in ask(tmp_path, "config", "found.yaml")


def test_a_missing_file_names_every_place_and_the_remedy(tmp_path):
    site = tmp_path / "lib" / "site-packages"
    install(site, tmp_path / "share" / "hybridnet_ros")
    answer = ask(site, "engines", "gone.onnx")
    assert answer.startswith("engines/gone.onnx is not installed; looked for ")
    for root in (site, tmp_path / "lib", tmp_path):
        assert str(root / "share" / "hybridnet_ros" / "engines" / "gone.onnx") in answer
    assert "Install hybridnet_ros again" in answer


def test_the_error_is_a_file_not_found_error():
    with pytest.raises(FileNotFoundError):
        share_path("engines", "no-such-engine.onnx")
    assert issubclass(ResourceError, FileNotFoundError)
