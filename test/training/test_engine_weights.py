"""A network that learns on from an engine's file says what the engine says, and its batches are normalised again."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from hybridnet_ros.engine import load_manifest, open_engine
from training import export, train
from training.config import NetworkConfig
from training.evaluate import torch_engine
from training.networks import HybridNet, build_network
from training.networks._timm import DropPath
from training.networks.engine_weights import load_engine
from training.run_folder import RunFolder

from .conftest import draw_scene, small_config

SHIPPED = Path(__file__).parents[2] / "engines" / "hybridnet_driving.onnx"


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of some steps, so that batch normalisation has seen images."""
    folder = tmp_path_factory.mktemp("engine_weights")
    train_on([small_config(folder / "small.yaml"), "--data", data, "--run", folder / "run", "--device", "cpu"])
    return RunFolder.open(folder / "run")


@pytest.fixture(scope="module")
def engine(run: RunFolder, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run's engine."""
    return export.export(run, data, tmp_path_factory.mktemp("engines"))


@pytest.fixture
def batches(run: RunFolder) -> list[torch.Tensor]:
    height, width = run.config.data.crop
    images = np.stack([draw_scene(height, width, seed)[0] for seed in range(8)])
    return list(torch.from_numpy(images).split(4))


def train_on(arguments: list[object]) -> None:
    assert train.main([str(argument) for argument in arguments]) == 0


def fresh(run: RunFolder) -> HybridNet:
    torch.manual_seed(99)
    return build_network(run.config.network, len(run.labels), run.config.data.crop)


def outputs(network: nn.Module, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.no_grad():
        found = network.eval()(images)
    return found.depth, found.scores


def norms(network: nn.Module) -> Iterator[nn.BatchNorm2d]:
    return (module for module in network.modules() if isinstance(module, nn.BatchNorm2d))


def test_the_network_says_what_the_engine_says(run: RunFolder, engine: Path, batches: list[torch.Tensor]) -> None:
    network = fresh(run)
    load_engine(network, engine, [], batches)
    # Images whose statistics were not taken.
    image = np.stack([draw_scene(64, 96, seed)[0] for seed in (50, 51)])
    with open_engine(engine, "onnx_cpu") as opened:
        expected = opened.predict(image)
    found = torch_engine(network.eval(), run.config).predict(image)
    np.testing.assert_allclose(found.depth, expected.depth, rtol=1e-3)
    assert np.mean(found.labels != expected.labels) < 1e-3


def test_batches_are_normalised_again(run: RunFolder, engine: Path, batches: list[torch.Tensor]) -> None:
    network = fresh(run)
    load_engine(network, engine, [], batches)
    before = outputs(network, torch.cat(batches))
    said = {}
    for module in norms(network):
        module.register_forward_pre_hook(lambda layer, inputs: said.__setitem__(layer, inputs[0]))
        # Taken from the same images: what a training step would normalise by.
        torch.testing.assert_close(module.running_var, module.running_var.clamp(0, 1.001))
    network(torch.cat(batches))
    for module, x in said.items():
        mean, variance = x.double().mean((0, 2, 3)), x.double().var((0, 2, 3), correction=0)
        torch.testing.assert_close(module.running_mean.double(), mean, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(module.running_var.double(), variance, rtol=1e-2, atol=1e-3)
    # In training, normalised by the batch, it therefore says the same on these images as the engine.
    for module in network.modules():
        if isinstance(module, nn.Dropout | nn.Dropout2d):
            module.p = 0.0
        if isinstance(module, DropPath):
            module.drop_prob = 0.0
    with torch.no_grad():
        found = network.train()(torch.cat(batches))
    for one, other in zip(before, (found.depth, found.scores), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def test_only_the_named_blocks_are_taken(run: RunFolder, engine: Path, batches: list[torch.Tensor]) -> None:
    network, other = fresh(run), fresh(run)
    load_engine(network, engine, ["features", "global_depth"], batches)
    for name, value in network.state_dict().items():
        untouched = name.split(".")[0] not in ("features", "global_depth")
        if untouched or value.ndim == 4:
            assert torch.equal(value, other.state_dict()[name]) == untouched, name


def test_other_classes_are_taken_over_block_by_block(run: RunFolder, engine: Path, batches: list[torch.Tensor]) -> None:
    network = build_network(run.config.network, 7, run.config.data.crop)
    with pytest.raises(ValueError, match=r"'upsampling\.classify' is 76x64x1x1, this network's 28x64x1x1.*classes"):
        load_engine(network, engine, [], batches)
    load_engine(network, engine, ["features", "global_depth", "refining_depth"], batches)


def test_blocks_are_found_by_name_where_others_are_of_another_kind(
    run: RunFolder, engine: Path, batches: list[torch.Tensor]
) -> None:
    alone = run.config.network.model_copy(update={"upsampling": None})
    network, whole = build_network(alone, len(run.labels), run.config.data.crop), fresh(run)
    load_engine(network, engine, ["features", "global_depth", "refining_depth"], batches)
    load_engine(whole, engine, [], batches)
    with torch.no_grad():
        one, other = network.eval()(batches[0]).depth, whole.eval()(batches[0]).depth
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_packed_weights_are_read(run: RunFolder, engine: Path, batches: list[torch.Tensor]) -> None:
    kinds = {tensor.data_type for tensor in onnx.load(engine).graph.initializer}
    assert onnx.TensorProto.INT8 in kinds, "the engine of this test holds none, so it would show nothing"
    network = fresh(run)
    load_engine(network, engine, [], batches)
    expected = RunFolder.open(run.path).load_best()
    for one, other in zip(outputs(network, batches[0]), outputs(expected, batches[0]), strict=True):
        torch.testing.assert_close(one, other, rtol=0.05, atol=0.05)


def test_training_starts_where_the_engine_is(run: RunFolder, engine: Path, data: Path, tmp_path: Path) -> None:
    config = small_config(tmp_path / "small.yaml")
    folder = tmp_path / "run"
    train_on([config, "--data", data, "--run", folder, "--device", "cpu", "--init", engine,
                  "--set", "optimiser.learn=[upsampling]"])  # fmt: skip
    image = draw_scene(64, 96, 60)[0][np.newaxis]
    learnt = export.export(RunFolder.open(folder), data, tmp_path / "engines")
    with open_engine(engine, "onnx_cpu") as before, open_engine(learnt, "onnx_cpu") as after:
        one, other = before.predict(image), after.predict(image)
    # Depth stays: weights that were rounded once are rounded to the same.
    np.testing.assert_allclose(one.depth, other.depth, rtol=1e-4)
    assert after.manifest.training.details["started_from"] == before.manifest.onnx_sha256


def test_the_card_says_what_the_engine_was_made_of(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = small_config(tmp_path / "small.yaml", steps=1)
    train_on([config, "--data", data, "--run", tmp_path / "run", "--device", "cpu",
              "--init", SHIPPED, "--init-blocks", "upsampling", "refining_depth",
              "--set", "licence=mine", "--set", "network.global_depth=null"])  # fmt: skip
    assert "note: the features start from chance" in capsys.readouterr().out
    path = export.export(RunFolder.open(tmp_path / "run"), data, tmp_path / "engines")
    manifest, shipped = load_manifest(path.with_suffix(".json")), load_manifest(SHIPPED.with_suffix(".json"))
    assert manifest.licence == f"mine; it started from hybridnet_driving: {shipped.licence}"
    uses = {source.name: source.use for source in manifest.training.data}
    assert uses["both"] == "test"
    assert uses["camvid/train"].endswith("; of hybridnet_driving, which it started from")
    assert {source.name for source in shipped.training.data} <= set(uses)
    card = path.with_suffix(".md").read_text()
    assert f"SHA-256 {shipped.onnx_sha256[:12]}… (upsampling, refining_depth)" in " ".join(card.split())


def test_what_does_not_fit_is_named(
    run: RunFolder, engine: Path, data: Path, batches: list[torch.Tensor], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    other = build_network(NetworkConfig(global_depth=None), len(run.labels), run.config.data.crop)
    with pytest.raises(ValueError, match=r"has \d+ layers with weights, this network \d+.*is it of another recipe"):
        load_engine(other, engine, [], batches)
    with pytest.raises(ValueError, match="this network has no block head: there is features"):
        load_engine(fresh(run), engine, ["head"], batches)
    scaled = fresh(run)
    scaled.features.backbone.conv_stem.conv.register_parameter("gain", nn.Parameter(torch.ones(1)))
    with pytest.raises(ValueError, match=r"does not hold 'features\.backbone\.conv_stem\.conv\.gain'"):
        load_engine(scaled, engine, [], batches)
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(engine.read_bytes()[: 1 << 16])
    config = small_config(tmp_path / "small.yaml")
    for path in (damaged, tmp_path / "missing.onnx"):
        arguments = [config, "--data", data, "--run", tmp_path / path.stem, "--init", path]
        assert train.main([str(argument) for argument in arguments]) == 1
        assert f"cannot start from {path}: cannot read the engine" in capsys.readouterr().err


def test_an_engine_in_8_bits_is_refused(run: RunFolder, batches: list[torch.Tensor]) -> None:
    with pytest.raises(ValueError, match="in 8 bits: take the float32 engine"):
        load_engine(fresh(run), SHIPPED.with_name("hybridnet_driving_int8.onnx"), [], batches)
