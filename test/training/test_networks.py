import math

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from training.config import ConfigError, NetworkConfig
from training.networks import EngineGraph, _timm, build_network
from training.networks.depthwise import depthwise_in_float32
from training.networks.features import TimmFeatures, make_padding_static
from training.networks.hybridnet import Normalise
from training.networks.refining_depth import SharedFeaturesRefinement


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return build_network(NetworkConfig(), 19, (64, 96)).eval()


@torch.no_grad()
def test_depth_is_a_quarter_of_the_image_and_scores_are_half_of_it(network: torch.nn.Module) -> None:
    output = network(torch.randint(0, 256, (2, 64, 96, 3), dtype=torch.uint8))
    assert output.depth.shape == (2, 1, 16, 24)
    assert output.scores.shape == (2, 19, 32, 48)
    assert output.global_depth.shape == (2, 1, 4, 6)


@torch.no_grad()
def test_refinement_starts_as_the_global_depth(network: torch.nn.Module) -> None:
    output = network(torch.randint(0, 256, (1, 64, 96, 3), dtype=torch.uint8))
    coarse = torch.nn.functional.interpolate(output.global_depth, scale_factor=4.0, mode="bilinear")
    torch.testing.assert_close(output.depth, coarse)


@torch.no_grad()
@pytest.mark.parametrize("context", [False, True])
def test_with_context_depth_depends_on_all_that_is_seen(context: bool) -> None:
    torch.manual_seed(0)
    strides = (4, 8, 16, 32)
    refinement = SharedFeaturesRefinement((8, 8, 8, 8), strides, None, context=context).eval()
    torch.nn.init.normal_(refinement.predict.weight)
    image = torch.randn(1, 3, 512, 512)
    maps = [torch.randn(1, 8, 512 // stride, 512 // stride) for stride in strides]
    before = refinement(image, None, maps)
    maps[3][..., 0, 0] += 100.0  # of the upper left
    after = refinement(image, None, maps)
    assert not torch.equal(before[..., 0, 0], after[..., 0, 0])
    assert torch.equal(before[..., -1, -1], after[..., -1, -1]) != context


@torch.no_grad()
def test_the_light_refinement_can_say_depth_in_layers() -> None:
    torch.manual_seed(0)
    config = NetworkConfig(
        refining_depth="light_layers",
        global_depth=None,
        depth_context=True,
        depth_layers=12,
        depth_layers_range=(0.5, 10.0),
    )
    network = build_network(config, 19, (64, 96)).eval()
    image = torch.randint(0, 256, (2, 64, 96, 3), dtype=torch.uint8)
    output = network(image)
    assert output.layers.shape == (2, 12, 16, 24)
    # From nothing: all layers are as likely, which means the middle of the range.
    torch.testing.assert_close(output.depth, torch.full((2, 1, 16, 24), math.log(0.5 * 10.0) / 2))
    torch.nn.init.normal_(network.refining_depth.decoder.predict.weight, std=5.0)
    output = network(image)
    likely, centres = output.layers.softmax(dim=1).double(), np.log(np.geomspace(0.5, 10.0, 12))
    expected = np.tensordot(likely.numpy(), centres, axes=(1, 0))
    np.testing.assert_allclose(output.depth[:, 0], expected, rtol=1e-4, atol=1e-4)
    for layer, metres in ((0, 0.5), (11, 10.0)):
        predict = network.refining_depth.decoder.predict
        predict.bias.zero_()
        predict.bias[layer] = 1000.0
        depth = EngineGraph(network, (0.3, 20.0))(image)[0]
        torch.testing.assert_close(depth, torch.full((2, 64, 96), metres))


@torch.no_grad()
def test_engine_graph_keeps_the_contract(network: torch.nn.Module) -> None:
    image = torch.randint(0, 256, (3, 64, 96, 3), dtype=torch.uint8)
    depth, labels, confidence = EngineGraph(network, (0.5, 200.0))(image)
    assert [x.shape for x in (depth, labels, confidence)] == [(3, 64, 96)] * 3
    assert [x.dtype for x in (depth, labels, confidence)] == [torch.float32, torch.uint8, torch.uint8]
    assert depth.min() >= 0.5 - 1e-4 and depth.max() <= 200.0 + 1e-2
    # Labels and confidence are those of the softmax over the scores at half the image's size.
    scores = network(image).scores
    probability, best = scores.softmax(dim=1).max(dim=1)
    assert torch.equal(labels[:, ::2, ::2], best.byte())
    assert torch.equal(labels[:, 1::2, 1::2], best.byte())
    assert (confidence[:, ::2, ::2].int() - (255 * probability).round().int()).abs().max() <= 1


@torch.no_grad()
def test_constant_padding_equals_timms_run_time_padding() -> None:
    torch.manual_seed(0)
    image = torch.randn(1, 3, 64, 96)
    original = _timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    expected = original.forward_features(image)
    make_padding_static(original)
    assert not any(isinstance(module, _timm.Conv2dSame) for module in original.modules())
    torch.testing.assert_close(original.forward_features(image), expected)


def test_pretrained_weights_are_copied(tmp_path: object) -> None:
    torch.manual_seed(1)
    classifier = _timm.create_model("tf_efficientnet_lite0", pretrained=False)
    path = tmp_path / "weights.safetensors"
    save_file(
        {name: value.half() if value.is_floating_point() else value for name, value in classifier.state_dict().items()},
        path,
    )
    network = build_network(NetworkConfig(), 19, (64, 96), path)
    expected = classifier.conv_stem.weight.half().float()
    for block in (network.features, network.global_depth.trunk):
        torch.testing.assert_close(block.backbone.conv_stem.conv.weight, expected)
    save_file({"conv_stem.weight": classifier.conv_stem.weight}, path)
    with pytest.raises(ConfigError, match="lacks 'bn1"):
        build_network(NetworkConfig(), 19, (64, 96), path)


def test_stages_behind_the_last_map_are_left_out() -> None:
    full, early = TimmFeatures("tf_efficientnet_lite0"), TimmFeatures("tf_efficientnet_lite0", strides=(8, 16))
    for features in (full, early):
        features.prune()
    assert full.channels == (24, 40, 112, 320) and early.channels == (40, 112)
    assert sum(p.numel() for p in early.parameters()) < 0.3 * sum(p.numel() for p in full.parameters())
    with pytest.raises(ValueError, match="none at"):
        TimmFeatures("tf_efficientnet_lite0", strides=(64,))


def test_a_favoured_class_is_said_where_it_is_less_likely() -> None:
    torch.manual_seed(0)
    network = build_network(NetworkConfig(), 3, (64, 96)).eval()
    image = torch.randint(0, 256, (1, 64, 96, 3), dtype=torch.uint8)
    with torch.no_grad():
        odds = network(image).scores.softmax(dim=1)
        labels, favouring, confidence = (
            EngineGraph(network, (0.5, 20.0), favour)(image)[part]
            for favour, part in ((None, 1), ([0.0, 1.0, 0.0], 1), ([0.0, 1.0, 0.0], 2))
        )
    odds = odds * torch.tensor([1.0, math.e, 1.0])[:, None, None]
    expected = odds.argmax(dim=1)
    assert torch.equal(favouring[0, ::2, ::2], expected[0].byte())
    assert (favouring == 1).sum() > (labels == 1).sum()
    share = 255 * odds.amax(dim=1) / odds.sum(dim=1)
    torch.testing.assert_close(confidence[0, ::2, ::2].float(), share[0].round(), atol=1.0, rtol=0)


def test_normalise_maps_bytes_to_plus_minus_one() -> None:
    image = torch.tensor([0, 255, 127], dtype=torch.uint8).expand(1, 1, 1, 3)
    assert Normalise(*[(0.5, 0.5, 0.5)] * 2)(image).flatten().tolist() == pytest.approx(
        [-1.0, 1.0, 127 / 127.5 - 1], abs=1e-6
    )


def test_the_global_branch_starts_at_the_configured_depth() -> None:
    network = build_network(NetworkConfig(initial_depth=7.0), 19, (64, 96))
    assert network.global_depth.predict.bias.item() == pytest.approx(math.log(7.0))


def test_depthwise_convolutions_learn_in_float32_under_autocast() -> None:
    torch.manual_seed(0)
    network = build_network(NetworkConfig(), 19, (64, 96)).train()
    names = list(network.state_dict())
    depthwise_in_float32(network)
    assert list(network.state_dict()) == names
    layers = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d) and m.groups > 1]
    assert {module.kernel_size for module in layers} == {(3, 3), (5, 5)}
    assert {module.stride for module in layers} == {(1, 1), (2, 2)}
    for layer in layers:
        image = torch.randn(2, layer.in_channels, 16, 20, dtype=torch.bfloat16, requires_grad=True)
        with torch.autocast("cpu", torch.bfloat16):
            found = layer(image)
        assert found.dtype == torch.bfloat16
        of_image, of_weight = torch.autograd.grad(found.float().square().sum(), [image, layer.weight])
        exact = image.detach().float().requires_grad_()
        # The way back starts from what bfloat16 made of the output, and the image's gradient ends in bfloat16.
        wanted_image, wanted_weight = torch.autograd.grad(
            layer(exact), [exact, layer.weight], 2 * found.detach().float()
        )
        torch.testing.assert_close(of_image.float(), wanted_image, rtol=2**-8, atol=1e-6)
        torch.testing.assert_close(of_weight, wanted_weight, rtol=1e-4, atol=1e-5 * wanted_weight.abs().max().item())


def test_residual_blocks_are_left_out_in_training_only() -> None:
    torch.manual_seed(0)
    image = torch.randint(0, 256, (1, 64, 96, 3), dtype=torch.uint8)
    plain, dropping = (build_network(NetworkConfig(drop_path=rate), 19, (64, 96)) for rate in (0.0, 0.5))
    dropping.load_state_dict(plain.state_dict())
    for network in (plain, dropping):
        network.eval()
    assert torch.equal(plain(image).scores, dropping(image).scores)

    def twice_the_same(network: torch.nn.Module) -> bool:
        dropping_blocks = [module for module in network.modules() if type(module).__name__ == "DropPath"]
        for module in dropping_blocks:
            module.train()
        return torch.equal(network(image).scores, network(image).scores)

    with torch.no_grad():
        assert twice_the_same(plain) and not twice_the_same(dropping)
    with pytest.raises(ConfigError, match="drop_path: segnet has no residual blocks to leave out"):
        build_network(NetworkConfig(features="segnet", upsampling="segnet", drop_path=0.1), 19, (64, 96))
