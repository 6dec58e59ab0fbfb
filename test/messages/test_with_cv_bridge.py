"""A cv_bridge that would crash the process is not even imported."""

from __future__ import annotations

import logging
import sys

import numpy as np
import pytest

from hybridnet_ros.messages import with_cv_bridge


@pytest.fixture
def install_cv_bridge(tmp_path, monkeypatch):
    """Puts a cv_bridge package with this content in its binary where Python looks first."""

    def install(binary: bytes) -> None:
        folder = tmp_path / "cv_bridge" / "boost"
        folder.mkdir(parents=True)
        (tmp_path / "cv_bridge" / "__init__.py").write_text("raise AssertionError('cv_bridge was imported')\n")
        (folder / "cv_bridge_boost.cpython-310-x86_64-linux-gnu.so").write_bytes(binary)

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cv_bridge", raising=False)
    with_cv_bridge.cv_bridge_is_usable.cache_clear()
    yield install
    with_cv_bridge.cv_bridge_is_usable.cache_clear()


@pytest.mark.skipif(np.__version__ < "2", reason="with NumPy 1 every cv_bridge is fit")
def test_a_cv_bridge_built_for_numpy_1_is_left_alone_under_numpy_2(install_cv_bridge, caplog):
    install_cv_bridge(b"\x7fELF...numpy.core.multiarray\0_ARRAY_API\0")
    with caplog.at_level(logging.WARNING, logger="hybridnet"):
        assert not with_cv_bridge.cv_bridge_is_usable()
    assert "cv_bridge is built for NumPy 1" in caplog.text
    assert "install 'numpy<2'" in caplog.text


def test_a_cv_bridge_built_for_numpy_2_is_used_with_every_numpy(install_cv_bridge):
    install_cv_bridge(b"\x7fELF...numpy._core._multiarray_umath\0numpy.core._multiarray_umath\0_ARRAY_API\0")
    assert with_cv_bridge.cv_bridge_is_usable()
