"""A network from its config: the blocks by name.

Every published network is a choice of blocks; `configs/networks/` names them.
"""

from pathlib import Path

from torch import nn

from training.config import ConfigError, NetworkConfig
from training.networks.depth_code import DepthCode
from training.networks.depth_layers import DepthLayers, RefinedDepthLayers
from training.networks.features import Features, TimmFeatures
from training.networks.global_depth import ConvolutionalGlobalDepth, DepthNetGlobalDepth
from training.networks.googlenet import GoogLeNetFeatures
from training.networks.hybridnet import HybridNet
from training.networks.layers import bias_of
from training.networks.refining_depth import DepthNetRefinement, SharedFeaturesRefinement
from training.networks.segnet import SegNetFeatures, SegNetUpsampling
from training.networks.upsampling import DeepLabAspp, LightAspp, SkipDecoder
from training.networks.vgg import DeepLabVgg16, FcnVgg16
from training.networks.weights import load_classifier

_OWN_FEATURES = {
    "deeplab_vgg16": DeepLabVgg16,
    "fcn_vgg16": FcnVgg16,
    "segnet": SegNetFeatures,
    "googlenet": GoogLeNetFeatures,
}


def build_network(config: NetworkConfig, classes: int, size: tuple[int, int], weights: Path | None = None) -> HybridNet:
    """The network of a config.

    Args:
        config: names the blocks.
        classes: of the labels.
        size: (height, width) px of the images it is trained on, for blocks that are made for one size.
        weights: ImageNet weights of the features; None starts from chance.

    Raises:
        ConfigError: there is no such block, blocks do not fit together, or the weights do not fit the features.
    """
    try:
        return _build(config, classes, size, weights)
    except ValueError as error:
        raise ConfigError(f"network: {error}") from error


def _build(config: NetworkConfig, classes: int, size: tuple[int, int], weights: Path | None) -> HybridNet:
    in_layers = config.refining_depth in ("layers", "light_layers")
    code = DepthCode("log" if in_layers else config.depth, config.depth_scale)
    features = _features(config)
    global_depth = _global_depth(config, size)
    if weights is not None and features is not None:
        load_classifier(features, weights)
        if isinstance(global_depth, ConvolutionalGlobalDepth) and config.global_depth == config.features:
            load_classifier(global_depth.trunk, weights)
    if isinstance(features, TimmFeatures):
        features.prune()
    if isinstance(global_depth, ConvolutionalGlobalDepth):
        global_depth.trunk.prune()
    refining_depth = _refining_depth(config, features, global_depth)
    start = code.encode(config.initial_depth)
    if global_depth is not None:
        nn.init.constant_(bias_of(global_depth.predict), start)
    # The light refinement adds to the global depth; every other one says the depth itself.
    adds = isinstance(refining_depth, SharedFeaturesRefinement) and global_depth is not None
    if isinstance(refining_depth, SharedFeaturesRefinement | DepthNetRefinement) and not adds:
        nn.init.constant_(bias_of(refining_depth.predict), start)
    upsampling = None if features is None else _upsampling(config, features, classes)
    seen = features if features is not None else Features()
    return HybridNet(features, global_depth, refining_depth, upsampling, code, seen.mean, seen.std)


def _features(config: NetworkConfig) -> Features | None:
    if config.features is None:
        return None
    if config.features in _OWN_FEATURES:
        if config.drop_path:
            raise ValueError(f"drop_path: {config.features} has no residual blocks to leave out; set it to 0")
        return _OWN_FEATURES[config.features](config.width)
    return TimmFeatures(config.features, output_stride=config.output_stride, drop_path=config.drop_path)


def _global_depth(
    config: NetworkConfig, size: tuple[int, int]
) -> ConvolutionalGlobalDepth | DepthNetGlobalDepth | None:
    if config.global_depth is None:
        return None
    if config.global_depth == "depthnet":
        return DepthNetGlobalDepth(size, config.width)
    return ConvolutionalGlobalDepth(config.global_depth)


def _refining_depth(
    config: NetworkConfig,
    features: Features | None,
    global_depth: ConvolutionalGlobalDepth | DepthNetGlobalDepth | None,
) -> SharedFeaturesRefinement | DepthNetRefinement | DepthLayers | None:
    global_stride = global_depth.stride if global_depth is not None else None
    if config.refining_depth is None:
        return None
    if config.refining_depth == "depthnet":
        inputs, stride = (features.channels[3], features.strides[3]) if features is not None else (None, 4)
        return DepthNetRefinement(inputs, stride, global_stride, config.width)
    if features is None:
        raise ValueError(f"refining_depth: {config.refining_depth} needs features: name some, or take depthnet")
    if config.refining_depth == "layers":
        decoder = _skip_decoder(features, config.depth_layers)
        return DepthLayers(decoder, config.depth_layers, config.depth_layers_range)
    _need_finest_at_4(features, f"refining_depth: {config.refining_depth}")
    layers = config.depth_layers if config.refining_depth == "light_layers" else 1
    refinement = SharedFeaturesRefinement(
        features.channels, features.strides, global_stride, context=config.depth_context, outputs=layers
    )
    return refinement if layers == 1 else RefinedDepthLayers(refinement, layers, config.depth_layers_range)


def _upsampling(config: NetworkConfig, features: Features, classes: int) -> nn.Module | None:
    if config.upsampling is None:
        return None
    if config.upsampling == "light":
        return LightAspp(features.channels, features.strides, classes)
    if config.upsampling == "deeplab_aspp":
        hidden = max(1, round(1024 * config.width))
        return DeepLabAspp(features.channels[3], features.strides[3], classes, hidden)
    if config.upsampling == "skip":
        return _skip_decoder(features, classes)
    if not isinstance(features, SegNetFeatures):
        raise ValueError("upsampling: segnet unpools what features: segnet has pooled, and works with no others")
    return SegNetUpsampling(features.channels, features.widths[0], classes)


def _skip_decoder(features: Features, classes: int) -> SkipDecoder:
    if features.strides[1:] != (8, 16, 32):
        raise ValueError(
            f"the skip decoder adds maps at strides 8, 16 and 32, these features have {features.strides[1:]}: "
            "take others, or upsampling: light"
        )
    return SkipDecoder(features.channels, classes)


def _need_finest_at_4(features: Features, block: str) -> None:
    if features.strides[0] != 4:
        raise ValueError(f"{block} needs features whose finest map has stride 4, these have {features.strides}")
