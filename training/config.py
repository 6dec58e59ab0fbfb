"""What describes a run: a YAML file, read into typed models that refuse unknown keys by name.

A variant of a recipe is the recipe with a few keys set otherwise on the command line:
`--set network=fcn8s --set seed=2`. `network: NAME` stands for the blocks in configs/networks/NAME.yaml; single blocks
are set as `network.upsampling=light`.
"""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

NETWORKS = Path(__file__).parent / "configs" / "networks"


class ConfigError(Exception):
    """The run's description is wrong; the message names every key and what it should be."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NetworkConfig(_Model):
    """The blocks of the network; null leaves one out."""

    # A timm name, or deeplab_vgg16, fcn_vgg16, segnet, googlenet.
    features: str | None = "tf_efficientnet_lite0"
    output_stride: Literal[8, 16, 32] = 32  # of timm features: less than 32 dilates the last stages
    # depthnet (fully connected), or a timm name, of which the early stages are used (fully convolutional).
    global_depth: str | None = "tf_efficientnet_lite0"
    # Of timm features: how likely, in training, a residual block is left out; the deepest this, those before it less.
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.0
    # light_layers is light, whose depth is the mean of layers, each weighted by how likely it is.
    refining_depth: Literal["light", "light_layers", "depthnet", "layers"] | None = "light"
    # Of refining_depth: light and light_layers: the mean of the coarsest shared map takes part everywhere.
    depth_context: bool = False
    upsampling: Literal["light", "deeplab_aspp", "skip", "segnet"] | None = "light"
    width: Annotated[float, Field(gt=0)] = 1.0  # scales the channels of published blocks, for small machines
    weights: Path | None = None  # ImageNet weights of the features (safetensors or .pth), relative to the data folder
    depth: Literal["log", "linear"] = "log"  # what the depth blocks predict: log of metres, or metres / depth_scale
    depth_scale: Annotated[float, Field(gt=0)] = 80.0  # metres: the paper's Z_max
    initial_depth: Annotated[float, Field(gt=0)] = 20.0  # metres, where the depth blocks start
    depth_layers: Annotated[int, Field(ge=2)] = 19  # of refining_depth: layers and light_layers
    depth_layers_range: tuple[float, float] = (1.0, 100.0)  # metres, their least and greatest

    @model_validator(mode="after")
    def _fits_together(self) -> "NetworkConfig":
        if self.refining_depth is None and self.upsampling is None:
            raise ValueError("it predicts nothing: give refining_depth, upsampling or both")
        if self.features is None and self.upsampling is not None:
            raise ValueError("upsampling needs features: name some, or set upsampling to null")
        if self.global_depth is not None and self.refining_depth in (None, "layers", "light_layers"):
            raise ValueError(
                "global_depth is refined by nothing: set it to null, or refining_depth to light or depthnet"
            )
        if self.depth_context and self.refining_depth not in ("light", "light_layers"):
            raise ValueError("depth_context is of refining_depth: light or light_layers: leave it out")
        if self.weights is not None and self.features is None:
            raise ValueError("weights are of the features, which are null: leave weights out")
        return self


SourceKind = Literal[
    "road_scenes", "camvid", "cityscapes", "nyuv2", "kitti", "kitti_depth", "kitti_semantics", "folder"
]


class SourceConfig(_Model):
    """One source of training samples."""

    kind: SourceKind
    path: Path  # relative to the data folder
    split: str | None = None  # of datasets that have some: train, val ...
    weight: float = Field(gt=0)  # share of the samples drawn, relative to the other sources
    labels: bool = True
    depth: bool = True
    # Metres of the camera above the road: depth is scaled, image by image, so that the road of its labels lies there.
    camera_height: Annotated[float, Field(gt=0)] | None = None
    licence: str
    origin: str
    use: str


class DataConfig(_Model):
    """Where samples come from and how they are varied."""

    label_set: str = "cityscapes19"
    sources: list[SourceConfig]
    crop: tuple[int, int] = (256, 512)  # height, width; multiples of 32
    scale: tuple[float, float] = (0.6, 1.7)  # of the size that a running engine would use
    flip: Annotated[float, Field(ge=0, le=1)] = 0.5
    # Degrees either way that the camera is turned by: about its optical axis, up and down, left and right.
    roll: Annotated[float, Field(ge=0, le=45)] = 0.0
    pitch: Annotated[float, Field(ge=0, le=30)] = 0.0
    yaw: Annotated[float, Field(ge=0, le=30)] = 0.0
    # Strength of brightness, contrast, saturation and gamma changes.
    colour: Annotated[float, Field(ge=0, le=1)] = 0.35
    workers: Annotated[int, Field(ge=0)] = 2

    @model_validator(mode="after")
    def _possible(self) -> "DataConfig":
        if not self.sources:
            raise ValueError("sources: there is none to learn from")
        if any(side <= 0 or side % 32 for side in self.crop):
            raise ValueError(f"crop: {self.crop[0]} x {self.crop[1]} must be multiples of 32")
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"scale: {self.scale} must be positive, the least first")
        return self


Weights = Literal["best", "average", "last"]
"""Of a run: best: averaged over steps, of its best validation; average: the same, of its last checkpoint; last: of that
checkpoint, not averaged."""


class EngineConfig(_Model):
    """What the trained engine promises."""

    name: str
    weights: Weights = "best"  # that it is made of
    height: int = Field(gt=0, multiple_of=32)
    width: int = Field(gt=0, multiple_of=32)
    pixels: int = Field(gt=0)
    fx: float = Field(gt=0)  # canonical focal length, px at network size
    depth_range: tuple[float, float]
    beyond: list[str] = []
    # Nats added to the scores of these classes: 1 has a class said where it is only 1 / e times as likely as another.
    # For what is missed more often than it should be, at the price of saying it where it is not; confidence follows.
    favour: dict[str, Annotated[float, Field(ge=-10, le=10)]] = {}
    shown_depth: tuple[float, float] = (1.0, 80.0)  # metres, the ends of the depth colours of its pictures


class WeightedLossConfig(_Model):
    """Weighted sum of the parts of the loss; a weight of 0 leaves a part out."""

    kind: Literal["weighted"] = "weighted"
    labels: Annotated[float, Field(ge=0)] = 1.0
    # Online hard example mining: only pixels whose true class gets less than `ohem_probability`, or the hardest share
    # `ohem_keep` of the labelled pixels where fewer do.
    label_loss: Literal["cross_entropy", "ohem"] = "cross_entropy"
    ohem_probability: Annotated[float, Field(gt=0, le=1)] = 0.7
    ohem_keep: Annotated[float, Field(gt=0, le=1)] = 0.0625
    # Classes weigh as their share of the pixels to the power of minus this, from a step on; until then all alike. What
    # the weights do to how likely the network finds a class is taken back, see training/objective.py.
    label_balance: Annotated[float, Field(ge=0, le=1)] = 0.0
    balance_from: Annotated[int, Field(ge=0)] = 0
    depth: Annotated[float, Field(ge=0)] = 1.0
    depth_loss: Literal["silog", "berhu"] = "silog"
    variance_focus: Annotated[float, Field(ge=0, le=1)] = 0.85  # lambda of SILog
    global_depth: Annotated[float, Field(ge=0)] = 0.5  # the same depth loss on the global branch's own map
    gradient: Annotated[float, Field(ge=0)] = 0.5  # multi-scale gradients of log depth
    depth_layers: Annotated[float, Field(ge=0)] = 1.0  # cross-entropy of depth layers, of networks that have them
    uncertainty: bool = False  # the weights of the two tasks are learnt (Kendall 2018), on top of those above


class PaperLossConfig(_Model):
    """The paper's L_H = alpha * L_S + L_DL + L_DN, depth divided by network.depth_scale."""

    kind: Literal["paper"]
    alpha: Annotated[float, Field(ge=0)] = 1000.0
    # caffe: Euclidean losses are sums over the pixels; mean: all of it divided by the pixels of the depth map.
    reduction: Literal["caffe", "mean"] = "mean"


def _loss_kind(value: Any) -> str:
    return str(value.get("kind", "weighted") if isinstance(value, dict) else getattr(value, "kind", "weighted"))


LossConfig = Annotated[
    Annotated[WeightedLossConfig, Tag("weighted")] | Annotated[PaperLossConfig, Tag("paper")],
    Discriminator(_loss_kind),
]


Block = Literal["features", "global_depth", "refining_depth", "upsampling"]


class OptimiserConfig(_Model):
    """AdamW, linear warm-up, decay of the learning rate, exponential moving average of the weights.

    A step learns from `batch` images on each process, `accumulate` times over.
    """

    steps: int = Field(gt=0)
    batch: int = Field(gt=0)  # images that one process takes at a time
    accumulate: Annotated[int, Field(gt=0)] = 1  # times that it does so before the weights change
    lr: Annotated[float, Field(gt=0)] = 1e-3
    backbone_lr: Annotated[float, Field(gt=0)] = 3e-4
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    warmup: Annotated[int, Field(ge=0)] = 200
    decay: Literal["poly", "cosine"] = "poly"
    power: Annotated[float, Field(gt=0)] = 0.9  # of poly
    clip: Annotated[float, Field(gt=0)] = 5.0  # norm of the gradient
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.998
    average_from: Annotated[int, Field(ge=0)] | None = None  # from this step on, all steps count alike in the average
    # The blocks that learn, null: all. The others stay as --init gave them, to the last bit: labels learn, depth stays.
    learn: Annotated[list[Block], Field(min_length=1)] | None = None
    # bfloat16 autocast, but on CPUs without instructions for it, which take four times as long with it than without.
    amp: bool = True

    @model_validator(mode="after")
    def _averaged(self) -> "OptimiserConfig":
        if self.average_from is not None and self.average_from >= self.steps:
            raise ValueError(f"average_from: {self.average_from} is not reached in {self.steps} steps")
        return self


class ScheduleConfig(_Model):
    """When to look and when to save, in steps."""

    log: Annotated[int, Field(gt=0)] = 20  # from one point of TensorBoard's curves to the next
    checkpoint: Annotated[int, Field(gt=0)] = 200
    validate_every: Annotated[int, Field(gt=0)] = 400


class TruthConfig(_Model):
    """Data to score one task on."""

    kind: SourceKind
    path: Path  # relative to the data folder
    split: str | None = None
    about: str  # what the truth is, for the model card


class DepthTruthConfig(TruthConfig):
    """Data to score depth on."""

    cap: float | None = None  # metres beyond which truth does not count


class SequenceConfig(_Model):
    """Consecutive frames `image/*.jpg` of one camera, to see how steady predictions are; no truth is needed."""

    path: Path  # relative to the data folder
    fx: float = Field(gt=0)  # px of the images
    about: str


class ValidationConfig(_Model):
    """What each task is scored on; a task that the network has and this lacks is not scored."""

    labels: TruthConfig | None = None
    depth: DepthTruthConfig | None = None
    sequence: SequenceConfig | None = None


class RunConfig(_Model):
    """A whole run."""

    seed: int = 1
    licence: str
    network: NetworkConfig = NetworkConfig()
    data: DataConfig
    engine: EngineConfig
    loss: LossConfig = WeightedLossConfig()
    optimiser: OptimiserConfig
    schedule: ScheduleConfig = ScheduleConfig()
    validation: ValidationConfig
    reported: ValidationConfig | None = None  # what the engine's figures are of, where not of `validation`

    @property
    def claims(self) -> ValidationConfig:
        """What the engine's figures are measured on."""
        return self.reported or self.validation

    @model_validator(mode="after")
    def _scored(self) -> "RunConfig":
        network, validation = self.network, self.validation
        if not ((network.upsampling and validation.labels) or (network.refining_depth and validation.depth)):
            raise ValueError("validation: nothing that the network predicts is scored: give labels or depth")
        return self


def load_config(path: Path, changes: Sequence[str] = ()) -> RunConfig:
    """Read a run's description, with changes such as `network=fcn8s` or `optimiser.steps=100`, in their order.

    Raises:
        ConfigError: the file cannot be read, is not YAML, or has missing, unknown or wrong keys.
    """
    values = _network_by_name(_read(path), {})
    for change in changes:
        before = values.get("network")
        _set(values, change)
        _network_by_name(values, before if isinstance(before, dict) else {})
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, item['loc'])) or '(file)'}: {_what_is_wrong(item)}" for item in error.errors()]
        changed = f" with {', '.join(changes)}" if changes else ""
        raise ConfigError(f"{path}{changed} does not describe a run:\n" + "\n".join(lines)) from error


def _what_is_wrong(error: Any) -> str:
    if error["type"] != "extra_forbidden":
        return str(error["msg"])
    models: list[type[BaseModel]] = [RunConfig, *_Model.__subclasses__(), *TruthConfig.__subclasses__()]
    known = {name for model in models for name in model.model_fields}
    similar = difflib.get_close_matches(str(error["loc"][-1]), known, 1)
    return "there is no such key" + (f"; is {similar[0]} meant?" if similar else "")


def write_config(config: RunConfig, path: Path) -> None:
    """The whole of a run's description, defaults and changes included; `load_config` reads the same back."""
    path.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"cannot read the config {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} does not describe a run: it holds no keys")
    return values


def _network_by_name(values: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """Put the blocks in the place of a network's name; what `before` said of the scene, not of blocks, stays."""
    name = values.get("network")
    if isinstance(name, str):
        path = NETWORKS / f"{name}.yaml"
        if not path.is_file():
            known = ", ".join(sorted(file.stem for file in NETWORKS.glob("*.yaml")))
            raise ConfigError(f"network: there is none called {name}; there is {known}")
        blocks = _read(path)
        kept: dict[str, Any] = {key: before[key] for key in ("initial_depth", "depth_scale") if key in before}
        if "weights" in before and before.get("features") == blocks["features"]:
            kept["weights"] = before["weights"]
        values["network"] = {**kept, **blocks}
    return values


def _set(values: dict[str, Any], change: str) -> None:
    key, equals, text = change.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {change}: write KEY=VALUE, e.g. network.upsampling=light")
    *way, last = key.split(".")
    place: Any = values
    try:
        value = yaml.safe_load(text)
        for step in way:
            place = place[int(step)] if isinstance(place, list) else place.setdefault(step, {})
        place[int(last) if isinstance(place, list) else last] = value
    except (AttributeError, IndexError, TypeError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"--set {change}: the config has no place {key}, or the value is not YAML") from error
