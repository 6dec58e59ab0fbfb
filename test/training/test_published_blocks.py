"""Each published block against its layer table: sizes at 321x321 (and DepthNet's 218x298) and parameters a layer."""

import pytest
import torch
from torch import nn

from training.networks.global_depth import DepthNetGlobalDepth
from training.networks.refining_depth import DepthNetRefinement
from training.networks.segnet import SegNetFeatures, SegNetUpsampling, pool_with_places, unpool
from training.networks.upsampling import DeepLabAspp, SkipDecoder
from training.networks.vgg import DeepLabVgg16, FcnVgg16


def layers(block: nn.Module) -> list[nn.Conv2d | nn.Linear]:
    return [module for module in block.modules() if isinstance(module, nn.Conv2d | nn.Linear)]


def parameters(layer: nn.Module) -> int:
    return sum(parameter.numel() for parameter in layer.parameters())


def conv(inputs: int, outputs: int, kernel: int, groups: int = 1) -> int:
    return inputs // groups * outputs * kernel**2 + outputs


@torch.no_grad()
def test_deeplabs_vgg16() -> None:
    block = DeepLabVgg16().eval()
    widths = [(3, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 256), (256, 512)]
    widths += [(512, 512)] * 5
    assert [parameters(layer) for layer in layers(block)] == [conv(a, b, 3) for a, b in widths]
    assert parameters(block) == 14_714_688  # VGG-16 without its classifier
    dilations = [layer.dilation for layer in layers(block)]
    assert dilations == [(1, 1)] * 10 + [(2, 2)] * 3
    sides: list[int] = []
    for pool in block.pools:
        pool.register_forward_hook(lambda module, inputs, output: sides.append(output.shape[-1]))
    maps = block(torch.zeros(1, 3, 321, 321))
    assert sides == [161, 81, 41, 41, 41]
    assert [(x.shape[1], x.shape[2]) for x in maps] == [(128, 81), (256, 41), (512, 41), (512, 41)]
    assert block.channels == tuple(x.shape[1] for x in maps)
    for x, stride in zip(block(torch.zeros(1, 3, 64, 96)), block.strides, strict=True):
        assert x.shape[2:] == (64 // stride, 96 // stride)


@torch.no_grad()
def test_deeplabs_aspp() -> None:
    block = DeepLabAspp(512, 8, 19).eval()
    assert [layer.dilation[0] for layer in layers(block) if layer.kernel_size == (3, 3)] == [6, 12, 18, 24]
    branch = [conv(512, 1024, 3), conv(1024, 1024, 1), conv(1024, 19, 1)]
    assert [parameters(layer) for layer in layers(block)] == branch * 4
    assert sum(module.p == 0.5 for module in block.modules() if isinstance(module, nn.Dropout)) == 8
    features = [torch.zeros(0)] * 3 + [torch.randn(1, 512, 41, 41)]
    scores = block(features)
    assert scores.shape == (1, 19, 41, 41)
    torch.testing.assert_close(scores, torch.stack([branch(features[3]) for branch in block.branches]).sum(0))
    assert layers(block)[2].weight.std() == pytest.approx(0.01, rel=0.05)


@pytest.mark.parametrize(
    ("size", "maps", "pool5", "predicted"),
    [
        ((218, 298), [(52, 72), (26, 36), (26, 36)], (13, 18), (27, 37)),
        ((321, 321), [(78, 78), (39, 39), (39, 39)], (19, 19), (40, 40)),
    ],
    ids=["218x298", "321x321"],
)
@torch.no_grad()
def test_depthnets_global_network(
    size: tuple[int, int], maps: list[tuple[int, int]], pool5: tuple[int, int], predicted: tuple[int, int]
) -> None:
    block = DepthNetGlobalDepth(size).eval()
    shapes: list[tuple[int, int]] = []
    convolutions = block.convolutions
    for index in (0, 3, 4, 7, 9, 11, 13):
        convolutions[index].register_forward_hook(lambda module, inputs, out: shapes.append(tuple(out.shape[-2:])))
    depth = block(torch.zeros(1, 3, *size))
    assert shapes == [maps[0], maps[1], *[maps[2]] * 4, pool5]
    assert depth.shape == (1, 1, *predicted)
    assert [parameters(layer) for layer in layers(block)] == [
        conv(3, 96, 11),
        conv(96, 256, 5, 2),
        conv(256, 384, 3),
        conv(384, 384, 3, 2),
        conv(384, 256, 3, 2),
        pool5[0] * pool5[1] * 256 * 1024 + 1024,
        1024 * predicted[0] * predicted[1] + predicted[0] * predicted[1],
    ]
    assert sum(isinstance(module, nn.LocalResponseNorm) for module in convolutions) == 2


@torch.no_grad()
def test_the_global_network_takes_other_sizes_than_its_own() -> None:
    block = DepthNetGlobalDepth((64, 96), width=0.1).eval()
    image = torch.randn(2, 3, 64, 96)
    larger = nn.functional.interpolate(image, scale_factor=2.0, mode="bilinear")
    assert block(larger).shape == (2, 1, 16, 24)
    assert block(image).shape == (2, 1, 8, 12)


@pytest.mark.parametrize(
    ("size", "coarse", "fine"), [((218, 298), (27, 37), (54, 74)), ((321, 321), (40, 40), (80, 80))], ids=str
)
@torch.no_grad()
def test_depthnets_refinement_with_shared_features(
    size: tuple[int, int], coarse: tuple[int, int], fine: tuple[int, int]
) -> None:
    block = DepthNetRefinement(512, 8, 8).eval()
    assert [parameters(layer) for layer in layers(block)] == [
        conv(3, 96, 11),
        conv(512, 64, 1),
        conv(96 + 1 + 64, 64, 5),
        conv(64, 64, 5),
        conv(64, 64, 5, 2),
        conv(64, 1, 3),
    ]
    image = torch.randn(1, 3, *size)
    assert block.image(image).shape[-2:] == fine
    features = [torch.zeros(0)] * 3 + [torch.randn(1, 512, size[0] // 8 + 1, size[1] // 8 + 1)]
    assert block(image, torch.randn(1, 1, *coarse), features).shape == (1, 1, *fine)


def test_depthnets_refinement_without_features_and_without_global_depth() -> None:
    assert layers(DepthNetRefinement(None, 4, 8))[1].in_channels == 97
    assert layers(DepthNetRefinement(512, 8, None))[2].in_channels == 96 + 64


def test_fcn8s_has_its_published_parameters() -> None:
    with torch.device("meta"):
        features = FcnVgg16()
        decoder = SkipDecoder(features.channels, 21)
    # VGG-16 with its two hidden fully connected layers, then three scores and two learnt doublings for 21 classes.
    assert parameters(features) == 14_714_688 + conv(512, 4096, 7) + conv(4096, 4096, 1)
    scores = conv(256, 21, 1) + conv(512, 21, 1) + conv(4096, 21, 1)
    assert parameters(decoder) == scores + 2 * 21 * 21 * 16


@torch.no_grad()
def test_the_learnt_doubling_starts_as_bilinear() -> None:
    decoder = SkipDecoder((8, 8, 8, 8), 3)
    x = torch.randn(1, 3, 6, 7)
    expected = nn.functional.interpolate(x, scale_factor=2.0, mode="bilinear")
    torch.testing.assert_close(decoder.double16(x)[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1])


def test_segnet_mirrors_its_encoder() -> None:
    with torch.device("meta"):
        encoder = SegNetFeatures()
        decoder = SegNetUpsampling(encoder.channels, encoder.widths[0], 11)
    down = [(layer.in_channels, layer.out_channels) for layer in layers(encoder)]
    up = [(layer.in_channels, layer.out_channels) for layer in layers(decoder)]
    assert len(down) == 13 and len(up) == 13
    assert up == [(b, a) for a, b in reversed(down)][:-1] + [(64, 11)]


def test_unpooling_puts_values_back_where_they_were() -> None:
    torch.manual_seed(0)
    # Whole numbers after a ReLU: many ties, which the first place in reading order wins.
    x = torch.randint(-2, 3, (2, 3, 8, 12)).float().relu().requires_grad_()
    pooled, places = pool_with_places(x)
    expected, indices = nn.functional.max_pool2d(x, 2, return_indices=True)
    assert torch.equal(pooled, expected)
    values = torch.randn_like(pooled)
    assert torch.equal(unpool(values, places), nn.functional.max_unpool2d(values, indices, 2))
    (found,) = torch.autograd.grad(pooled.sum(), x, retain_graph=True)
    (wanted,) = torch.autograd.grad(expected.sum(), x)
    assert torch.equal(found, wanted)
