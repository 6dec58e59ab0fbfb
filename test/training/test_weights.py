"""Weights from local files: ImageNet's, as timm and torchvision publish them, and the paper's staged recipe."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from training import imagenet, train
from training.config import ConfigError, NetworkConfig, load_config
from training.networks import _timm, build_network
from training.networks.features import TimmFeatures
from training.networks.googlenet import GoogLeNetFeatures
from training.networks.vgg import DeepLabVgg16, FcnVgg16
from training.networks.weights import load_classifier
from training.run_folder import RunFolder

from .rooms import room_config, write_rooms

RECIPES = Path(__file__).parents[2] / "training" / "configs"


def torchvision_vgg16(width: float) -> dict[str, Tensor]:
    """A state_dict as torchvision's vgg16 has it, narrower."""
    numbers, widths = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28), (64, 128, 256, 512, 512)
    counts, state, inputs = (2, 2, 3, 3, 3), {}, 3
    outputs = [round(w * width) for w, count in zip(widths, counts, strict=True) for _ in range(count)]
    for number, channels in zip(numbers, outputs, strict=True):
        state[f"features.{number}.weight"] = torch.randn(channels, inputs, 3, 3)
        state[f"features.{number}.bias"] = torch.randn(channels)
        inputs = channels
    hidden = round(4096 * width)
    for number, size in ((0, inputs * 49), (3, hidden), (6, hidden)):
        state[f"classifier.{number}.weight"] = torch.randn(1000 if number == 6 else hidden, size)
        state[f"classifier.{number}.bias"] = torch.randn(1000 if number == 6 else hidden)
    return state


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_vgg16_takes_torchvisions_weights(tmp_path: Path, suffix: str) -> None:
    stored, path = torchvision_vgg16(0.05), tmp_path / f"vgg16{suffix}"
    if suffix == ".pth":
        torch.save(stored, path)
    else:
        save_file(stored, path)
    for features in (DeepLabVgg16(0.05), FcnVgg16(0.05)):
        load_classifier(features, path)
        convolutions = [m for m in features.modules() if isinstance(m, nn.Conv2d)][:13]
        names = [name[: -len(".weight")] for name in stored if name.startswith("features") and name.endswith("weight")]
        for layer, name in zip(convolutions, names, strict=True):
            assert torch.equal(layer.weight, stored[f"{name}.weight"]) and torch.equal(
                layer.bias, stored[f"{name}.bias"]
            )
    # The fully connected layers are the same sums, taken as convolutions.
    x = torch.randn(2, convolutions[-1].out_channels, 7, 7)
    expected = (x.flatten(1) @ stored["classifier.0.weight"].T + stored["classifier.0.bias"]).relu()
    found = features.eval().fc6(x)[:, :, 3, 3]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_resnets_take_torchvisions_weights_and_keep_them_dilated(tmp_path: Path) -> None:
    torch.manual_seed(0)
    classifier = _timm.create_model("resnet18", pretrained=False)
    torch.save(classifier.state_dict(), tmp_path / "resnet18.pth")
    features = TimmFeatures("resnet50", output_stride=8)
    with pytest.raises(ValueError, match="the network's 64x64x1x1"):
        load_classifier(features, tmp_path / "resnet18.pth")
    features = TimmFeatures("resnet18")
    load_classifier(features, tmp_path / "resnet18.pth")
    for name, value in classifier.state_dict().items():
        assert torch.equal(features.backbone.state_dict()[name], value)
    assert features.mean == (0.485, 0.456, 0.406)


def test_googlenet_takes_torchvisions_weights_and_says_the_same(tmp_path: Path) -> None:
    from torchvision.models.googlenet import GoogLeNet

    torch.manual_seed(0)
    classifier = GoogLeNet(num_classes=10, init_weights=False).eval()
    for module in classifier.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 2.0)
    torch.save(classifier.state_dict(), tmp_path / "googlenet.pth")
    features = GoogLeNetFeatures().eval()
    load_classifier(features, tmp_path / "googlenet.pth")
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        found = features(x)
        for place, layers in enumerate(("conv1 maxpool1 conv2 conv3", "maxpool2 inception3a inception3b",
                                        "maxpool3 inception4a inception4b inception4c inception4d inception4e",
                                        "maxpool4 inception5a inception5b")):  # fmt: skip
            for layer in layers.split():
                x = classifier.get_submodule(layer)(x)
            # Torchvision's last pooling is 2x2, the publication's 3x3.
            if place < 3:
                torch.testing.assert_close(found[place], x, rtol=1e-4, atol=1e-5)
    assert features.stages[2][1].one[0].weight.equal(classifier.inception5a.branch1.conv.weight)


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    blocks = NetworkConfig(features="deeplab_vgg16", global_depth=None, width=0.05)

    def refusal(path: Path) -> str:
        with pytest.raises(ConfigError) as error:
            build_network(blocks, 5, (64, 64), path)
        return str(error.value)

    assert "cannot read the weights" in refusal(tmp_path / "none.pth")
    (tmp_path / "cut.pth").write_bytes(b"PK\x03\x04 cut")
    assert "cut.pth holds no weights" in refusal(tmp_path / "cut.pth")
    (tmp_path / "cut.safetensors").write_bytes(b"cut")
    assert "cut.safetensors holds no weights" in refusal(tmp_path / "cut.safetensors")
    torch.save({"epoch": 3}, tmp_path / "more.pth")
    assert "no plain state_dict" in refusal(tmp_path / "more.pth")
    torch.save(torchvision_vgg16(0.1), tmp_path / "wide.pth")
    assert "'features.0.weight' is 6x3x3x3, the network's 3x3x3x3" in refusal(tmp_path / "wide.pth")
    blocks = NetworkConfig(features="googlenet", global_depth=None)
    assert "lacks 'conv1.conv.weight': is it of another backbone?" in refusal(tmp_path / "wide.pth")
    blocks = NetworkConfig(features="tf_efficientnet_lite0", global_depth=None)
    said = refusal(tmp_path / "none")
    assert "python -m training.imagenet tf_efficientnet_lite0 --data DATA writes" in said
    assert "DATA/weights/tf_efficientnet_lite0_imagenet_fp16.safetensors" in said


@pytest.mark.parametrize("renamed", [False, True])
def test_a_recipes_weights_are_made_from_a_file(tmp_path: Path, renamed: bool) -> None:
    torch.manual_seed(5)
    model = _timm.create_model("tf_efficientnet_lite0", pretrained=False)
    stored = {name: value for name, value in model.state_dict().items() if "num_batches" not in name}
    if renamed:
        stored = {f"module.{place}": value for place, value in enumerate(stored.values())}
    torch.save(stored, tmp_path / "lite0.pth")
    command = ["tf_efficientnet_lite0", "--data", str(tmp_path), "--from", str(tmp_path / "lite0.pth")]
    assert imagenet.main(command) == 0
    weights = Path("weights/tf_efficientnet_lite0_imagenet_fp16.safetensors")
    assert load_config(RECIPES / "driving.yaml").network.weights == weights
    features = TimmFeatures("tf_efficientnet_lite0")
    load_classifier(features, tmp_path / weights)
    for name, value in model.state_dict().items():
        assert features.backbone.state_dict()[name].equal(value.half().to(value.dtype)), name


def test_weights_of_another_backbone_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refusal(stored: dict[str, Tensor], backbone: str = "tf_efficientnet_lite0") -> str:
        torch.save(stored, tmp_path / "stored.pth")
        assert imagenet.main([backbone, "--data", str(tmp_path), "--from", str(tmp_path / "stored.pth")]) == 1
        assert not (tmp_path / "weights").exists()
        return capsys.readouterr().err

    model = _timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict()
    tensors = [value for name, value in model.items() if "num_batches" not in name]
    assert "timm has no weights of 'efficientnet_lite9'" in refusal({}, "efficientnet_lite9")
    assert "it holds 0 tensors, timm's model 247" in refusal({})
    swapped = {str(place): value for place, value in enumerate(reversed(tensors))}
    assert "'0' is [1000], timm's 'conv_stem.weight' [32, 3, 3, 3]" in refusal(swapped)


@pytest.fixture(scope="module")
def depth_stage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DepthNet that has been trained for two steps; returns the folder with its run and its data."""
    root = tmp_path_factory.mktemp("stage")
    write_rooms(root / "rooms", 4)
    arguments = [room_config(root / "rooms.yaml", steps=2, batch=2), "--data", root, "--run", root / "depthnet"]
    changes = ["--set", "network=depthnet", "--set", "network.width=0.05", "--device", "cpu"]
    assert train.main([*map(str, arguments), *changes]) == 0
    return root


def start(root: Path, folder: str, name: str, blocks: list[str], *changes: str) -> train.Trainer:
    network = [f"network={name}", "network.width=0.05", *changes]
    run = RunFolder.create(root / folder, root / "rooms.yaml", network)
    trainer = train.Trainer(run, root, torch.device("cpu"))
    trainer.start_from(root / "depthnet" / "best.safetensors", blocks)
    return trainer


def test_the_depth_blocks_of_an_earlier_run_are_copied(depth_stage: Path) -> None:
    """The paper's recipe: DepthNet first, then all of HybridNet end to end."""
    stage = RunFolder.open(depth_stage / "depthnet").load_best().state_dict()
    trainer = start(depth_stage, "joint", "hybridnet_vgg16", ["global_depth", "refining_depth"])
    torch.manual_seed(trainer.config.seed)
    fresh = build_network(trainer.config.network, len(trainer.run.labels), trainer.config.data.crop).state_dict()
    copied = 0
    for state in (trainer.network.state_dict(), trainer.average.module.state_dict()):
        for name, value in state.items():
            depth_block = name.startswith(("global_depth.", "refining_depth."))
            copied += depth_block
            assert torch.equal(value, stage[name] if depth_block else fresh[name]), name
    # Each of 7 and 6 layers has a weight and a bias; both states were looked at.
    assert copied == 2 * 2 * (7 + 6)
    changed = [n for n in stage if n.startswith("refining_depth.") and not torch.equal(stage[n], fresh[n])]
    assert changed, "the stage had learnt something"


def test_blocks_that_cannot_be_copied_are_named(depth_stage: Path) -> None:
    with pytest.raises(ConfigError, match=r"best\.safetensors has no block upsampling"):
        start(depth_stage, "a", "hybridnet_vgg16", ["upsampling"])
    with pytest.raises(ConfigError, match="this network has no block global_depth: there is"):
        start(depth_stage, "b", "sole_encoder", ["global_depth"])
    with pytest.raises(ConfigError, match=r"'refining_depth\.refine\.0\.0\.weight' is .*, this network's"):
        start(depth_stage, "c", "depthnet_alone", ["refining_depth"])
    with pytest.raises(ConfigError, match="lacks 'upsampling"):
        start(depth_stage, "d", "hybridnet_vgg16", [])
