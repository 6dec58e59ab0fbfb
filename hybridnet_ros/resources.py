"""Finds the files shipped beside the code (engines/, config/) in a checkout and in every kind of installation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_PACKAGE_FOLDER = Path(__file__).absolute().parent


class ResourceError(FileNotFoundError):
    """A shipped file is not in any of the places where an installation puts it."""


def share_path(*parts: str) -> Path:
    """The shipped file or folder `parts`, for instance `share_path("config", "hybridnet.yaml")`.

    Works without ROS. A checkout has the file beside the package; pip (into the system, a virtual environment, the
    user's home or a `--target` folder) and colcon put it into `share/hybridnet_ros` of a folder above the package.

    Raises:
        ResourceError: names every place that was looked at.
    """
    looked_at = []
    for root in _share_roots(_PACKAGE_FOLDER):
        path = root.joinpath(*parts)
        if path.exists():
            return path
        looked_at.append(str(path))
    raise ResourceError(
        f"{'/'.join(parts)} is not installed; looked for {', '.join(looked_at)}. "
        "Install hybridnet_ros again (pip install . or colcon build) or run it from a complete checkout"
    )


def _share_roots(package_folder: Path) -> Iterator[Path]:
    """Folders that may hold our shipped files, the likeliest first."""
    # The second pass follows links: `colcon build --symlink-install` runs the package through a link to its checkout.
    for folder in dict.fromkeys((package_folder, package_folder.resolve())):
        if (folder.parent / "package.xml").is_file():
            yield folder.parent
        for above in folder.parents:
            yield above / "share" / "hybridnet_ros"
