"""A run's folder: everything that says what was trained, with what, how far, and how well.

config.yaml        the run's description, changes and defaults included
environment.json   versions, machine, git commit
last.safetensors   weights, averaged weights, optimiser and step: what `--resume` goes on from
best.safetensors   averaged weights of the best validation
metrics.jsonl      every validation
tensorboard/       curves and pictures
"""

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from hybridnet_ros.engine import ManifestError, load_manifest
from hybridnet_ros.scene.labels import LabelSet
from training.config import ConfigError, RunConfig, Weights, load_config, write_config
from training.data.label_sets import read_label_set
from training.networks import HybridNet, build_network

_TENSORS = ("network", "average", "objective", "optimiser")


class RunFolder:
    """Reads and writes a run's folder; every file is replaced whole or not at all, even if the power fails."""

    def __init__(self, path: Path, config: RunConfig) -> None:
        """Use `create` or `open`."""
        self.path = path
        self.config = config

    @classmethod
    def create(
        cls,
        path: Path,
        config_file: Path,
        changes: Sequence[str] = (),
        init: Path | None = None,
        init_blocks: Sequence[str] = (),
        processes: int = 1,
    ) -> "RunFolder":
        """A new folder, which notes where its config comes from, which weights the run starts from, and how it is run.

        Raises:
            ConfigError: a run is in it, or the config or the manifest of the engine that it starts from is wrong.
        """
        config = load_config(config_file, changes)
        if cls(path, config).weights_file("last").exists():
            raise ConfigError(
                f"{path} already holds a run: continue it with --resume, or name another folder with --run"
            )
        engine = _engine_it_starts_from(init)
        path.mkdir(parents=True, exist_ok=True)
        # Of a try that ended before its first checkpoint.
        (path / "metrics.jsonl").unlink(missing_ok=True)
        _replace(path / "config.yaml", lambda file: write_config(config, file))
        started = {
            "config": _from_checkout(config_file),
            "changes": list(changes),
            "init": str(init) if init else None,
            "init_sha256": hashlib.sha256(init.read_bytes()).hexdigest() if init and init.is_file() else None,
            "init_blocks": list(init_blocks),
            "init_engine": engine,
            "processes": processes,
        }
        folder = cls(path, config)
        folder._write_environment({**_environment(), **started})
        return folder

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """An existing folder; ConfigError when there is no run in it."""
        if not (path / "config.yaml").is_file():
            raise ConfigError(f"{path} holds no run: it has no config.yaml")
        return cls(path, load_config(path / "config.yaml"))

    @property
    def labels(self) -> LabelSet:
        """The classes the network predicts."""
        return read_label_set(self.config.data.label_set)

    def weights_file(self, which: Weights) -> Path:
        """The file of the best validation's weights ("best"), or the last checkpoint ("average" and "last")."""
        return self.path / ("best.safetensors" if which == "best" else "last.safetensors")

    def save_state(self, state: dict[str, Any]) -> None:
        """Write what a resumed run needs.

        `network`, `average` and `objective` are state_dicts, `optimiser` is the state of an optimiser's parameters by
        their numbers; the rest are numbers.
        """
        numbers = {name: value for name, value in state.items() if name not in _TENSORS}
        tensors = {
            f"{part}.{name}": value
            for part in ("network", "average", "objective")
            for name, value in state[part].items()
        }
        tensors |= {
            f"optimiser.{number}.{name}": value
            for number, moments in state["optimiser"].items()
            for name, value in moments.items()
        }
        self._save_tensors("last", tensors, {"state": json.dumps(numbers)})

    def load_state(self) -> dict[str, Any]:
        """What `save_state` wrote last; ConfigError when it never did, or the file is damaged."""
        path = self.weights_file("last")
        state: dict[str, Any] = {part: {} for part in _TENSORS}
        try:
            with safe_open(path, "pt") as file:
                state |= json.loads(file.metadata()["state"])
                for key in file.keys():  # noqa: SIM118 - the file is no dict
                    part, name = key.split(".", 1)
                    value = file.get_tensor(key)
                    if part == "optimiser":
                        number, moment = name.split(".")
                        # As the weights lie in memory: what is computed in another order may differ in the last bit.
                        value = value.to(memory_format=torch.channels_last) if value.ndim == 4 else value
                        state[part].setdefault(int(number), {})[moment] = value
                    else:
                        state[part][name] = value
        except FileNotFoundError as error:
            raise ConfigError(
                f"{self.path} has no checkpoint to resume from: leave --resume out to start it"
            ) from error
        except SafetensorError as error:
            raise ConfigError(f"{path} is damaged ({error}): copy it again, or start a new run") from error
        return state

    def save_best(self, network: HybridNet) -> None:
        """Write the weights of the best validation so far."""
        self._save_tensors("best", network.state_dict())

    def _save_tensors(self, name: Weights, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
        plain = {key: value.contiguous() for key, value in tensors.items()}
        _replace(self.weights_file(name), lambda file: save_file(plain, file, metadata))

    def load_best(self) -> HybridNet:
        """The network with the weights of the best validation, on the CPU, in evaluation mode."""
        path = self.weights_file("best")
        if not path.is_file():
            raise ConfigError(f"{self.path} has no best.safetensors: the run has not been validated yet")
        return self.network_of(load_file(path))

    def network_of(self, weights: dict[str, Tensor]) -> HybridNet:
        """The network with these weights, on the CPU, in evaluation mode."""
        network = build_network(self.config.network, len(self.labels), self.config.data.crop)
        network.load_state_dict(weights)
        return network.eval()

    def append_metrics(self, record: dict[str, Any]) -> None:
        """Add one validation to metrics.jsonl."""
        with (self.path / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(record) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """All validations so far."""
        path = self.path / "metrics.jsonl"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        # A run that was killed may have left half a line.
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def note_resume(self, step: int, processes: int = 1) -> None:
        """Note that the run goes on from `step`, and with which code; forget validations of later steps."""
        environment = self.environment()
        environment.setdefault("resumed", []).append({"step": step, "commit": _commit(), "processes": processes})
        self._write_environment(environment)
        known = "".join(json.dumps(record) + "\n" for record in self.metrics() if record["step"] <= step)
        _replace(self.path / "metrics.jsonl", lambda file: file.write_text(known))

    def _write_environment(self, environment: dict[str, Any]) -> None:
        text = json.dumps(environment, indent=2) + "\n"
        _replace(self.path / "environment.json", lambda file: file.write_text(text))

    def environment(self) -> dict[str, Any]:
        """What `create` found of versions, machine and commit, and under `resumed` where the run was continued."""
        environment: dict[str, Any] = json.loads((self.path / "environment.json").read_text())
        return environment


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Have `write` write a file, which takes the place of `path` once all of it is on the disk."""
    temporary = path.with_name(path.name + ".tmp")
    write(temporary)
    _to_disk(temporary)
    os.replace(temporary, path)
    _to_disk(path.parent)


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _from_checkout(path: Path) -> str:
    """A path that means the same wherever it is read: below the checkout, else absolute."""
    root, whole = Path(__file__).resolve().parents[1], path.resolve()
    return (whole.relative_to(root) if whole.is_relative_to(root) else whole).as_posix()


def _engine_it_starts_from(init: Path | None) -> dict[str, Any] | None:
    """Network, licence and data of an engine, as its manifest has them; what learns on from it is made of them, too."""
    if init is None or init.suffix != ".onnx" or not init.with_suffix(".json").is_file():
        return None
    try:
        manifest = load_manifest(init.with_suffix(".json"))
    except ManifestError as error:
        raise ConfigError(f"cannot start from {init}: {error}") from error
    data = [asdict(source) for source in manifest.training.data]
    return {"network": manifest.network, "licence": manifest.licence, "data": data}


def _environment() -> dict[str, Any]:
    return {
        "commit": _commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": platform.processor() or platform.machine(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
    }


def _commit() -> str:
    root = Path(__file__).parent
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True
        ).stdout.strip()
        dirty = subprocess.run(
            ["git", "status", "--porcelain"], cwd=root, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit}-dirty" if dirty else commit
