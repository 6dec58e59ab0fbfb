"""A run's folder: everything that says what was trained, with what, how far, and how well.

config.yaml        the run's description, changes and defaults included
environment.json   versions, machine, git commit
last.pt            weights, averaged weights, optimiser and step: what `--resume` goes on from
best.safetensors   averaged weights of the best validation
metrics.jsonl      every validation
tensorboard/       curves
"""

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from hybridnet_ros.scene.labels import LabelSet
from training.config import ConfigError, RunConfig, load_config, write_config
from training.data.label_sets import read_label_set
from training.networks import HybridNet, build_network


class RunFolder:
    """Reads and writes a run's folder; every file is replaced whole or not at all."""

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
    ) -> "RunFolder":
        """A new folder, which notes where its config comes from and which weights the run starts from.

        Raises:
            ConfigError: a run is in it, or the config is wrong.
        """
        config = load_config(config_file, changes)
        if (path / "last.pt").exists():
            raise ConfigError(
                f"{path} already holds a run: continue it with --resume, or name another folder with --run"
            )
        path.mkdir(parents=True, exist_ok=True)
        write_config(config, path / "config.yaml")
        started = {
            "config": str(config_file),
            "changes": list(changes),
            "init": str(init) if init else None,
            "init_blocks": list(init_blocks),
        }
        (path / "environment.json").write_text(json.dumps({**_environment(), **started}, indent=2) + "\n")
        return cls(path, config)

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

    def save_state(self, state: dict[str, Any]) -> None:
        """Write what a resumed run needs."""
        temporary = self.path / "last.pt.tmp"
        torch.save(state, temporary)
        os.replace(temporary, self.path / "last.pt")

    def load_state(self) -> dict[str, Any]:
        """What `save_state` wrote last; ConfigError when it never did."""
        try:
            state: dict[str, Any] = torch.load(self.path / "last.pt", map_location="cpu", weights_only=True)
            return state
        except FileNotFoundError as error:
            raise ConfigError(
                f"{self.path} has no checkpoint to resume from: leave --resume out to start it"
            ) from error

    def save_best(self, network: HybridNet) -> None:
        """Write the weights of the best validation so far."""
        temporary = self.path / "best.safetensors.tmp"
        save_file({name: value.contiguous() for name, value in network.state_dict().items()}, temporary)
        os.replace(temporary, self.path / "best.safetensors")

    def load_best(self) -> HybridNet:
        """The network with the weights of the best validation, on the CPU, in evaluation mode."""
        path = self.path / "best.safetensors"
        if not path.is_file():
            raise ConfigError(f"{self.path} has no best.safetensors: the run has not been validated yet")
        network = build_network(self.config.network, len(self.labels), self.config.data.crop)
        network.load_state_dict(load_file(path))
        return network.eval()

    def append_metrics(self, record: dict[str, Any]) -> None:
        """Add one validation to metrics.jsonl."""
        with (self.path / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(record) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """All validations so far."""
        path = self.path / "metrics.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def note_resume(self, step: int) -> None:
        """Note that the run goes on from `step`, and with which code."""
        environment = self.environment()
        environment.setdefault("resumed", []).append({"step": step, "commit": _commit()})
        (self.path / "environment.json").write_text(json.dumps(environment, indent=2) + "\n")

    def environment(self) -> dict[str, Any]:
        """What `create` found of versions, machine and commit, and under `resumed` where the run was continued."""
        environment: dict[str, Any] = json.loads((self.path / "environment.json").read_text())
        return environment


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
