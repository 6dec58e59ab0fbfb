"""Engines: trained networks in files, opened with `open_engine` and run on whatever the machine has."""

from hybridnet_ros.engine.engine import RUNTIMES, Engine, Prediction, open_engine
from hybridnet_ros.engine.errors import EngineError, ManifestError
from hybridnet_ros.engine.manifest import Manifest, load_manifest

__all__ = [
    "RUNTIMES",
    "Engine",
    "EngineError",
    "Manifest",
    "ManifestError",
    "Prediction",
    "load_manifest",
    "open_engine",
]
