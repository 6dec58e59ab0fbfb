"""What describes a run: a YAML file, read into typed models that refuse unknown keys by name."""

from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError


class ConfigError(Exception):
    """The run's description is wrong; the message names every key and what it should be."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NetworkConfig(_Model):
    """The blocks of the network."""

    features: str = "tf_efficientnet_lite0"  # timm name
    global_depth: str = "tf_efficientnet_lite0"  # timm name; its early stages only
    weights: Path | None = None  # ImageNet weights (safetensors), relative to the data folder
    initial_depth: float = Field(20.0, gt=0)  # metres, where the global branch starts


class SourceConfig(_Model):
    """One source of training samples."""

    kind: Literal["road_scenes"]
    path: Path  # relative to the data folder
    weight: float = Field(gt=0)  # share of the samples drawn, relative to the other sources
    labels: bool = True
    depth: bool = True
    licence: str
    origin: str
    use: str


class DataConfig(_Model):
    """Where samples come from and how they are varied."""

    label_set: str = "cityscapes19"
    sources: list[SourceConfig]
    crop: tuple[int, int] = (256, 512)  # height, width; multiples of 32
    scale: tuple[float, float] = (0.6, 1.7)  # of the size that a running engine would use
    flip: float = Field(0.5, ge=0, le=1)
    colour: float = Field(0.35, ge=0, le=1)  # strength of brightness, contrast, saturation and gamma changes
    workers: int = Field(2, ge=0)


class EngineConfig(_Model):
    """What the trained engine promises."""

    name: str
    height: int = Field(gt=0, multiple_of=32)
    width: int = Field(gt=0, multiple_of=32)
    pixels: int = Field(gt=0)
    fx: float = Field(gt=0)  # canonical focal length, px at network size
    depth_range: tuple[float, float]
    beyond: list[str] = []


class LossConfig(_Model):
    """Weights of the parts of the loss."""

    labels: float = Field(1.0, ge=0)
    # Classes weigh as their share of the pixels to the power of minus this, from a step on; until then all alike.
    label_balance: float = Field(0.0, ge=0, le=1)
    balance_from: int = Field(0, ge=0)
    depth: float = Field(1.0, ge=0)
    global_depth: float = Field(0.5, ge=0)  # the same depth loss on the global branch's own map
    gradient: float = Field(0.5, ge=0)  # multi-scale gradients of log depth
    variance_focus: float = Field(0.85, ge=0, le=1)  # lambda of SILog


class OptimiserConfig(_Model):
    """AdamW, linear warm-up, polynomial decay, exponential moving average of the weights."""

    steps: int = Field(gt=0)
    batch: int = Field(gt=0)
    lr: float = Field(1e-3, gt=0)
    backbone_lr: float = Field(3e-4, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    warmup: int = Field(200, ge=0)
    power: float = Field(0.9, gt=0)
    clip: float = Field(5.0, gt=0)  # norm of the gradient
    ema: float = Field(0.998, ge=0, lt=1)
    amp: bool = True  # bfloat16 autocast


class ScheduleConfig(_Model):
    """When to look and when to save, in steps."""

    checkpoint: int = Field(200, gt=0)
    validate_every: int = Field(400, gt=0)


class ValidationConfig(_Model):
    """Folders with human labels (CamVid) and measured depth (KITTI), relative to the data folder."""

    camvid: Path
    kitti_depth: Path


class RunConfig(_Model):
    """A whole run."""

    seed: int = 1
    licence: str
    network: NetworkConfig = NetworkConfig()
    data: DataConfig
    engine: EngineConfig
    loss: LossConfig = LossConfig()
    optimiser: OptimiserConfig
    schedule: ScheduleConfig = ScheduleConfig()
    validation: ValidationConfig


def load_config(path: Path) -> RunConfig:
    """Read a run's description.

    Raises:
        ConfigError: the file cannot be read, is not YAML, or has missing, unknown or wrong keys.
    """
    try:
        values = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"cannot read the config {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, item['loc'])) or '(file)'}: {item['msg']}" for item in error.errors()]
        raise ConfigError(f"{path} does not describe a run:\n" + "\n".join(lines)) from error
