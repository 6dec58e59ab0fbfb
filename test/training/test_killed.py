"""A run that is killed, at whatever moment, and resumed ends as if nothing had happened."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
import yaml

from training.config import ConfigError
from training.run_folder import RunFolder

from .processes import curve, finish, learn, start_training, wait_until
from .rooms import room_config, write_rooms

STEPS = 8


def config(path: Path) -> Path:
    """HybridNet with all that is drawn by chance: augmentation and dropout."""
    values = yaml.safe_load(room_config(path, steps=STEPS, batch=2).read_text())
    values["data"] |= {"flip": 0.5, "colour": 0.3, "scale": [0.8, 1.2], "workers": 1}
    values["schedule"] = {"log": 1, "checkpoint": 2, "validate_every": 4}
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody disturbs; beside it its data and config."""
    root = tmp_path_factory.mktemp("killed")
    write_rooms(root / "rooms", 6)
    learn(config(root / "rooms.yaml"), root, root / "whole")
    return root / "whole"


def step_of(run: Path) -> int:
    return int(RunFolder.open(run).load_state()["step"]) if (run / "last.safetensors").exists() else 0


MORE = [
    pytest.param(moment, marks=pytest.mark.slow)
    for moment in ("while a checkpoint is written", "while it is validated")
]


@pytest.mark.parametrize("moment", ["at a step", *MORE])
def test_killed_and_resumed_is_bit_equal(whole: Path, moment: str, tmp_path: Path) -> None:
    run, chance = tmp_path / "run", random.Random(moment)
    process = start_training(whole.parent / "rooms.yaml", whole.parent, run)
    if moment == "at a step":
        first = chance.choice(range(2, STEPS - 1, 2))
        wait_until(lambda: step_of(run) >= first, process)
    elif moment == "while it is validated":
        wait_until(lambda: step_of(run) >= 4, process)
    else:
        wait_until((run / "last.safetensors.tmp").exists, process, pause=0.0005)
    process.kill()
    finish(process)
    if (run / "last.safetensors").exists():
        learn("--resume", whole.parent, run)
    else:
        with pytest.raises(ConfigError, match="no checkpoint to resume from: leave --resume out to start it"):
            RunFolder.open(run).load_state()
        learn(whole.parent / "rooms.yaml", whole.parent, run)
    expected, found = (RunFolder.open(each).load_state() for each in (whole, run))
    assert found["step"] == STEPS
    for part in ("network", "average", "objective"):
        for name, value in expected[part].items():
            assert torch.equal(found[part][name], value), name
    for number, moments in expected["optimiser"].items():
        assert all(torch.equal(found["optimiser"][number][name], value) for name, value in moments.items())
    assert (run / "best.safetensors").read_bytes() == (whole / "best.safetensors").read_bytes()
    assert (run / "metrics.jsonl").read_text() == (whole / "metrics.jsonl").read_text()
    assert curve(run) == curve(whole)


def test_a_damaged_checkpoint_is_named(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes((whole / "config.yaml").read_bytes())
    (tmp_path / "last.safetensors").write_bytes((whole / "last.safetensors").read_bytes()[:5000])
    with pytest.raises(ConfigError, match="last.safetensors is damaged"):
        RunFolder.open(tmp_path).load_state()
