"""What a run tells while it goes on: a bar with the time that is left, and TensorBoard's curves and pictures."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from hybridnet_ros.engine.engine import Engine
from training.config import ValidationConfig
from training.data.sources import open_truth
from training.panel import draw_panel
from training.run_folder import RunFolder

_PICTURES = 4


class Progress:
    """Bar and curves; silent on all processes but one. A context manager."""

    def __init__(self, run: RunFolder, step: int, shown: bool) -> None:
        """Go on from `step`; of curves that an earlier try drew further than that, the rest is dropped."""
        self.every = run.config.schedule.log
        self.bar = tqdm(
            total=run.config.optimiser.steps,
            initial=step,
            desc=run.config.engine.name,
            unit="step",
            dynamic_ncols=True,
            mininterval=5,
            disable=not shown,
        )
        self.writer = SummaryWriter(run.path / "tensorboard", purge_step=step + 1) if shown else None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: object) -> None:
        if self.writer is not None:
            self.writer.close()
        self.bar.close()

    def advance(self, step: int, parts: dict[str, Tensor]) -> None:
        """`step` steps are done; `parts` of the last one's loss."""
        self.bar.update()
        if self.writer is not None and step % self.every == 0:
            values = {name: part.item() for name, part in parts.items()}
            self.bar.set_postfix({name: f"{value:.3f}" for name, value in values.items()})
            for name, value in values.items():
                self.writer.add_scalar(f"loss/{name}", value, step)

    def validated(self, step: int, figures: dict[str, dict[str, Any]], line: str, picture: NDArray[np.uint8]) -> None:
        """What a validation found, and a picture uint8 [H, W, 3] of what the network sees."""
        self.say(f"step {step}: {line}")
        if self.writer is None:
            return
        if "labels" in figures:
            self.writer.add_scalar("validation/mean_iou", figures["labels"]["mean_iou"], step)
        if "depth" in figures:
            self.writer.add_scalar("validation/abs_rel", figures["depth"]["pooled"]["abs_rel"], step)
        self.writer.add_image("validation/image_depth_labels", picture, step, dataformats="HWC")

    def say(self, text: str) -> None:
        """A line above the bar."""
        if not self.bar.disable:
            self.bar.write(text)


def validation_pictures(engine: Engine, data: Path, validation: ValidationConfig) -> NDArray[np.uint8]:
    """Some images of the validation data beside what `engine` makes of them."""
    truth = validation.labels or validation.depth
    assert truth is not None
    samples = open_truth(truth, data, labels=validation.labels is not None, depth=validation.labels is None)
    places = np.unique(np.linspace(0, len(samples) - 1, _PICTURES).round().astype(int))
    return draw_panel(engine, [samples[int(place)] for place in places])
