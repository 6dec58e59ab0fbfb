"""Every network of configs/networks: the same command trains, evaluates and exports it."""

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import yaml

from hybridnet_ros.engine import EngineError, open_engine
from training import evaluate, export, parity, train
from training.config import NETWORKS, ConfigError, NetworkConfig
from training.evaluation import Evaluation
from training.networks import build_network
from training.run_folder import RunFolder

from .rooms import draw_room, room_config, write_rooms

NAMES = sorted(path.stem for path in NETWORKS.glob("*.yaml"))
# A hundred million weights in a second of a test tell no more than a few thousand; this one has no narrow form.
NARROW = [name for name in NAMES if name != "hybridnet_resnet101"]
ROOMS = ["network.initial_depth=4", "network.depth_scale=10", "network.depth_layers_range=[1.0, 10.0]"]


def tasks(name: str) -> set[str]:
    blocks = yaml.safe_load((NETWORKS / f"{name}.yaml").read_text())
    return ({"labels"} if blocks["upsampling"] else set()) | ({"depth"} if blocks["refining_depth"] else set())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    write_rooms(root / "rooms", 20)
    return root


def trained(name: str, data: Path, folder: Path, *changes: str, **optimiser: object) -> Path:
    config = room_config(folder / "rooms.yaml", **optimiser)
    arguments = [str(config), "--data", str(data), "--run", str(folder / "run"), "--device", "cpu"]
    for change in (f"network={name}", *ROOMS, *changes):
        arguments += ["--set", change]
    assert train.main(arguments) == 0
    return folder / "run"


# The light one goes the same way in test_train.py.
@pytest.mark.parametrize(
    "name",
    [
        *(name for name in NARROW if name != "hybridnet_lite0"),
        pytest.param("hybridnet_resnet101", marks=pytest.mark.slow),
    ],
)
def test_each_network_trains_evaluates_and_exports(
    name: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained(name, data, tmp_path, "network.width=0.05", steps=2, batch=4)
    (record,) = RunFolder.open(run).metrics()
    assert set(record) - {"step"} == tasks(name)
    assert evaluate.main([str(run), "--data", str(data), "--output", str(tmp_path / "figures.json")]) == 0
    assert tasks(name) == set(Evaluation.load(tmp_path / "figures.json").figures)
    assert (tmp_path / "figures.md").is_file() and (tmp_path / "figures.png").is_file()
    capsys.readouterr()

    assert export.main([str(run), "--data", str(data), "--output", str(tmp_path / "engines")]) == 0
    path = tmp_path / "engines" / "hybridnet_driving.onnx"
    outputs = {output.name for output in onnx.load(path).graph.output}
    assert outputs == ({"labels", "confidence"} if "labels" in tasks(name) else set()) | (tasks(name) & {"depth"})
    if len(tasks(name)) == 2:
        with open_engine(path, runtime="onnx_cpu") as engine:
            assert engine.manifest.parity.tolerances == parity.PACKED_TOLERANCES
            # Another size and shape than it was trained and traced at.
            image = np.hstack([draw_room(0)[0], draw_room(1)[0]])
            prediction = engine.predict(np.stack([image, image[::-1]]), fx=60.0)
            assert prediction.depth.shape == prediction.labels.shape == (2, 64, 128)
    else:
        assert "no engine" in capsys.readouterr().out
        described = json.loads(path.with_suffix(".network.json").read_text())
        assert set(described["outputs"]) == outputs
        measured = described["parity"]["measured"]
        assert measured and all(measured[key] <= parity.PACKED_TOLERANCES[key] for key in measured)
        assert {key.split("_")[0] for key in measured} == outputs
        with pytest.raises(EngineError, match="manifest"):
            open_engine(path, runtime="onnx_cpu")


@pytest.mark.slow
@pytest.mark.parametrize("name", NARROW)
def test_each_network_learns_twenty_images_by_heart(name: str, data: Path, tmp_path: Path) -> None:
    # As narrow as still knows every room by heart, for two CPU cores: what is tested is the way, not the size.
    wide = {"hybridnet_lite0": 1.0, "hybridnet_vgg16": 0.25, "sole_encoder": 0.25, "depthnet_alone": 0.5}
    # SILog's focus forgives a wrong scale, which is what is left to learn of a known image.
    changes = ["network.depth=log", "loss.variance_focus=0", f"network.width={wide.get(name, 0.125)}"]
    lr = 1e-3
    if name == "pledl":
        # Depth at stride 8 is blurred along every edge; an absolute loss keeps that blur from the surfaces beside it.
        changes += ["loss.depth_loss=berhu", "loss.depth=3", "loss.depth_layers=0.1"]
        lr = 2e-3
    run = trained(name, data, tmp_path, *changes, steps=400, lr=lr, backbone_lr=lr)
    figures = RunFolder.open(run).metrics()[-1]
    if "labels" in tasks(name):
        assert figures["labels"]["global_accuracy"] > 0.95
    if "depth" in tasks(name):
        assert figures["depth"]["pooled"]["abs_rel"] < 0.05


@torch.no_grad()
def test_resnet101_is_dilated() -> None:
    values = yaml.safe_load((NETWORKS / "hybridnet_resnet101.yaml").read_text())
    network = build_network(NetworkConfig(**values, width=0.05), 5, (64, 96)).eval()
    assert network.features.strides == (4, 8, 8, 8) and network.features.channels == (256, 512, 1024, 2048)
    maps = network.features(torch.zeros(1, 3, 64, 96))
    assert [x.shape[1:] for x in maps] == [(256, 16, 24), (512, 8, 12), (1024, 8, 12), (2048, 8, 12)]
    # The deepest map of each stage, and not twice the last.
    assert len({x.data_ptr() for x in maps}) == 4
    dilations = {module.dilation for module in network.features.modules() if isinstance(module, torch.nn.Conv2d)}
    assert dilations == {(1, 1), (2, 2), (4, 4)}
    assert network(torch.zeros(1, 64, 96, 3, dtype=torch.uint8)).scores.shape == (1, 5, 8, 12)


@pytest.mark.parametrize(
    ("blocks", "reason"),
    [
        ({"features": "no_such_net"}, "timm cannot make the backbone 'no_such_net'"),
        ({"upsampling": "segnet"}, "works with no others"),
        ({"features": "deeplab_vgg16", "global_depth": None, "upsampling": "skip"}, "strides 8, 16 and 32"),
        ({"features": None, "upsampling": None}, "refining_depth: light needs features"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_blocks_that_do_not_fit_are_refused(blocks: dict[str, object], reason: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(reason)):
        build_network(NetworkConfig(**blocks), 5, (64, 96))


def test_every_block_can_be_combined_with_the_others() -> None:
    image = torch.randint(0, 256, (1, 64, 96, 3), dtype=torch.uint8)
    for features, stride in (("resnet18", 8), ("deeplab_vgg16", 32), ("googlenet", 32), ("segnet", 32)):
        for global_depth in ("resnet18", "depthnet", None):
            for refining_depth, upsampling in (("light", "deeplab_aspp"), ("depthnet", "light")):
                blocks = NetworkConfig(
                    features=features, output_stride=stride, global_depth=global_depth, width=0.05,
                    refining_depth=refining_depth, upsampling=upsampling,
                )  # fmt: skip
                with torch.no_grad():
                    output = build_network(blocks, 5, (64, 96)).eval()(image)
                assert output.depth.shape == (1, 1, 16, 24)
                assert (output.global_depth is None) == (global_depth is None)
