"""torchrun's processes learn together what one process learns from their images; they stop and fail together."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch
import yaml

from training.config import NETWORKS, NetworkConfig
from training.data.mixture import Draws
from training.networks import build_network
from training.run_folder import RunFolder

from .conftest import small_config
from .processes import TORCHRUN, curve, finish, learn, start, start_training, wait_until, worker
from .rooms import room_config, write_rooms

ENGINE = Path(__file__).parents[2] / "engines" / "hybridnet_driving.onnx"
# Without batch normalisation and dropout, so that a batch can be taken in parts; and small.
PLAIN = {
    "features": "deeplab_vgg16",
    "global_depth": None,
    "refining_depth": "depthnet",
    "upsampling": None,
    "width": 0.05,
}


def config(path: Path, network: dict[str, object] | None = None, **optimiser: object) -> Path:
    values = yaml.safe_load(room_config(path, **optimiser).read_text())
    values["data"] |= {"flip": 0.5, "colour": 0.3, "scale": [0.8, 1.2]}
    values["schedule"] = {"log": 1, "checkpoint": 1, "validate_every": 10000}
    values["network"] = network or {}
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("distributed")
    write_rooms(root / "rooms", 8)
    return root


def test_two_processes_learn_as_one_with_the_doubled_batch(root: Path) -> None:
    """HybridNet as it is, with its batch normalisation and dropout."""
    slowly = {"steps": 3, "lr": 1e-4, "backbone_lr": 1e-4}
    one, two = root / "one", root / "two"
    learn(config(root / "one.yaml", batch=4, **slowly), root, one)
    process = start_training(config(root / "two.yaml", batch=2, **slowly), root, two, processes=2)
    said = finish(process)
    assert process.returncode == 0, said
    assert list(curve(one)) == [1, 2, 3]
    assert curve(two) == pytest.approx(curve(one), rel=1e-4)
    states = [RunFolder.open(run).load_state() for run in (one, two)]
    assert [state["images"] for state in states] == [4, 4]


def test_layers_see_the_batch_of_all_processes() -> None:
    """Outputs, gradients and running statistics of batch normalisation and dropout are those of the whole batch."""
    process = start(*TORCHRUN, Path(__file__).with_name("shared_layers.py"))
    said = finish(process)
    assert process.returncode == 0, said


def test_a_stopped_run_goes_on_with_another_number_of_processes(root: Path) -> None:
    whole, stopped = root / "whole", root / "stopped"
    learn(config(root / "whole.yaml", PLAIN, batch=4, steps=16), root, whole)
    process = start_training(config(root / "stopped.yaml", PLAIN, batch=2, steps=16), root, stopped, processes=2)
    wait_until((stopped / "last.safetensors").exists, process)
    process.send_signal(signal.SIGTERM)
    said = finish(process)
    step = RunFolder.open(stopped).load_state()["step"]
    assert step == 16 or said.count(f"stopped after step {step}; go on with --resume") == 1, said
    assert len(curve(stopped)) == step
    learn("--resume", root, stopped)
    assert RunFolder.open(stopped).load_state()["images"] == 4
    environment = RunFolder.open(stopped).environment()
    assert (environment["processes"], environment["resumed"][0]["processes"]) == (2, 1)
    assert curve(stopped) == pytest.approx(curve(whole), rel=1e-3)


def test_all_processes_start_from_the_same_engine(data: Path, tmp_path: Path) -> None:
    started = ["--init", ENGINE, "--set", "optimiser.learn=[upsampling]", "--set", "network.global_depth=null"]
    for name, processes, batch in (("one", 1, 4), ("two", 2, 2)):
        config = small_config(tmp_path / f"{name}.yaml", steps=2, batch=batch)
        process = start_training(config, data, tmp_path / name, *started, processes=processes)
        said = finish(process)
        assert process.returncode == 0, said
    one, two = (RunFolder.open(tmp_path / name).load_state()["network"] for name in ("one", "two"))
    for name, value in one.items():
        if not name.startswith("upsampling"):
            # A channel that hardly varies is divided by that little: the last digits of its statistics count.
            torch.testing.assert_close(
                two[name], value, rtol=1e-3, atol=1e-5, msg=lambda said, at=name: f"{at}: {said}"
            )
    missing = start_training(tmp_path / "two.yaml", data, tmp_path / "none", "--init", "none.onnx", processes=2)
    said = finish(missing)
    assert missing.returncode != 0 and said.count("cannot start from none.onnx") == 1, said


@pytest.mark.slow
def test_a_killed_process_takes_the_others_with_it(root: Path) -> None:
    run = root / "killed"
    many = config(root / "killed.yaml", PLAIN, batch=1, steps=100000)
    process = start_training(many, root, run, processes=2)
    wait_until((run / "last.safetensors").exists, process)
    os.kill(worker(process, rank=1), signal.SIGKILL)
    finish(process)
    assert process.returncode != 0
    assert RunFolder.open(run).load_state()["step"] >= 1


@pytest.mark.slow
def test_a_loss_that_is_not_finite_on_one_process_stops_all_and_is_named(root: Path) -> None:
    """Depth of 1e20 m is a number, its square is none; which process meets it first is the draw's."""
    write_rooms(root / "far", 2)
    description = root / "far" / "dataset.yaml"
    description.write_text(description.read_text().replace("1000", "1e-22"))
    path = config(root / "far.yaml", PLAIN | {"depth": "linear"}, batch=1, steps=1000)
    values = yaml.safe_load(path.read_text())
    values["data"]["sources"].append(values["data"]["sources"][0] | {"path": "far", "weight": 0.2})
    values["loss"] = {"kind": "paper"}
    path.write_text(yaml.safe_dump(values))
    process = start_training(path, root, root / "infinite", processes=2)
    said = finish(process)
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert process.returncode != 0 and len(errors) == 1, said
    assert "error: the loss is inf at step " in errors[0] and str(root / "far" / "image") in errors[0]


@pytest.mark.slow
def test_a_wrong_config_ends_all_processes_and_is_said_once(root: Path) -> None:
    process = start_training(config(root / "wrong.yaml", steps=1), root / "nowhere", root / "wrong", processes=2)
    said = finish(process)
    assert process.returncode != 0 and said.count("error: ") == 1 and "nowhere" in said, said


def test_processes_share_the_draws_of_one() -> None:
    alone = [number for batch in Draws(range(2, 5), passes=2, batch=6) for number in batch]
    shares = [list(Draws(range(2, 5), passes=2, batch=2, rank=rank, count=3)) for rank in range(3)]
    assert [number for turn in zip(*shares, strict=True) for batch in turn for number in batch] == alone
    assert alone == list(range(24, 60)) and len(Draws(range(2, 5), 2, 6)) == 6


def test_gradients_reach_every_weight_of_every_network() -> None:
    """Processes wait for the gradient of each weight: one that never comes would hold them up."""
    for path in sorted(NETWORKS.glob("*.yaml")):
        values = yaml.safe_load(path.read_text())
        width = (
            {"width": 0.05} if path.stem not in ("hybridnet_resnet101",) else {"width": 0.05, "features": "resnet18"}
        )
        network = build_network(NetworkConfig.model_validate(values | width), 5, (64, 64)).train()
        output = network(torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8))
        sum(x.sum() for x in output if isinstance(x, torch.Tensor)).backward()
        assert not [name for name, p in network.named_parameters() if p.grad is None], path.stem
