"""One run, from its first or any later step to its last, on one process or many."""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from hybridnet_ros.memory import keep_all_memory
from training.config import ConfigError, WeightedLossConfig
from training.data.loader_worker import keep_out_of_the_way
from training.data.mixture import Draws, Mixture
from training.data.sources import class_shares, open_source
from training.data.transforms import TrainingTransform
from training.evaluate import evaluate, score, scored, summary, torch_engine
from training.losses import Known, class_weights
from training.networks import HybridNet, build_network
from training.networks.depthwise import depthwise_in_float32
from training.networks.engine_weights import load_engine
from training.networks.shared_batch import share_batch
from training.networks.weights import load_blocks
from training.objective import Objective, build_objective
from training.processes import Processes
from training.progress import Progress, validation_pictures
from training.run_folder import RunFolder
from training.schedule import learning_rate_factor, moving_average, parameter_groups, still_blocks

_STATISTICS = 32  # images that an engine's batch normalisation is made anew from


class NonFiniteLossError(RuntimeError):
    """The loss is NaN or infinite; the message names the images that it is so on."""


class _Learner(nn.Module):
    """Network and loss as one module, whose gradients the processes share."""

    def __init__(self, network: HybridNet, objective: Objective, device: torch.device, amp: bool) -> None:
        super().__init__()
        self.network, self.objective = network, objective
        self.device, self.amp = device, amp

    def forward(
        self, image: Tensor, labels: Tensor, depth: Tensor, class_weights: Tensor | None, whole: Known
    ) -> dict[str, Tensor]:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.amp):
            output = self.network(image)
        parts: dict[str, Tensor] = self.objective(output, labels, depth, class_weights, whole)
        return parts


def computes_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is faster than float32; processors that only imitate it are several times slower with it."""
    return device.type != "cpu" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


class Trainer:
    """The network, what it learns from, and how far it is.

    Attributes:
        step: that comes next.
        passes: forward and backward passes of one step.
        stopping: set it, and the run ends after the step in hand, with a checkpoint; on many processes any one's will.
    """

    def __init__(self, run: RunFolder, data: Path, device: torch.device, processes: Processes | None = None) -> None:
        """Build the network; pretrained weights are read from the data folder.

        On a CPU the process keeps the memory that its tensors freed, from now on.
        """
        if device.type == "cpu":
            keep_all_memory()
        config = run.config
        self.run, self.config, self.data, self.device = run, config, data, device
        self.processes = processes or Processes(device)
        torch.manual_seed(config.seed)
        weights = data / config.network.weights if config.network.weights else None
        built = self.processes.together(
            lambda: build_network(config.network, len(run.labels), config.data.crop, weights)
        )
        self.network = built.to(device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = AveragedModel(
            self.network,
            multi_avg_fn=moving_average(config.optimiser.ema, config.optimiser.average_from),
            use_buffers=True,
        )
        self.objective = build_objective(config.loss, self.network).to(device)
        self.still = self.processes.together(lambda: still_blocks(self.network, config.optimiser))
        groups = parameter_groups(self.network, config.optimiser)
        learnt = list(self.objective.parameters())
        if learnt:
            groups.append({"params": learnt, "base_lr": config.optimiser.lr, "weight_decay": 0.0})
        self.optimiser = torch.optim.AdamW(groups)
        amp = config.optimiser.amp and computes_bfloat16(device)
        if device.type == "cpu" and amp:
            depthwise_in_float32(self.network)
        self.learner: nn.Module = _Learner(self.network, self.objective, device, amp)
        if self.processes.count > 1:
            share_batch(self.network)
            self.learner = DistributedDataParallel(self.learner)
        self.sources = self.processes.together(
            lambda: [open_source(source, data, run.labels) for source in config.data.sources]
        )
        self.class_weights = self.processes.from_first(self._class_weights)
        self.step = 0
        self.passes = config.optimiser.accumulate
        self.stopping = False

    @property
    def images_a_step(self) -> int:
        """Images that one step learns from, on all processes together."""
        return self.config.optimiser.batch * self.passes * self.processes.count

    def _class_weights(self) -> Tensor | None:
        """The weights of the classes in the label loss; to balance them, all labels are read once."""
        loss = self.config.loss
        balance = loss.label_balance if isinstance(loss, WeightedLossConfig) else 0
        if balance == 0:
            return None
        pixels = np.zeros(len(self.run.labels))
        for source, described in zip(self.sources, self.config.data.sources, strict=True):
            pixels += described.weight * class_shares(source, len(pixels))
        return class_weights(pixels.tolist(), balance)

    @property
    def from_chance(self) -> bool:
        """Whether features that could start from ImageNet's weights do not."""
        return self.config.network.features is not None and self.config.network.weights is None

    def start_from(self, weights: Path, blocks: Sequence[str] = ()) -> None:
        """Take over the weights of an earlier run or of an engine (.onnx), or only those of some blocks.

        Raises:
            ConfigError: they cannot be read, or do not fit.
        """

        def read() -> dict[str, Tensor]:
            try:
                if weights.suffix == ".onnx":
                    load_engine(self.network, weights, blocks, self._first_images())
                else:
                    load_blocks(self.network, weights, blocks)
            except ValueError as error:
                raise ConfigError(f"cannot start from {weights}: {error}") from error
            return {name: value.cpu() for name, value in self.network.state_dict().items()}

        self.network.load_state_dict(self.processes.from_first(read))
        self.average.module.load_state_dict(self.network.state_dict())

    def _first_images(self) -> Sequence[Tensor]:
        """Batches uint8 [N, H, W, 3] of the images that are learnt from first."""
        mixture = self._mixture()
        draws = range(min(_STATISTICS, len(mixture)))
        images = torch.stack([torch.from_numpy(np.asarray(mixture[draw]["image"])) for draw in draws])
        return images.to(self.device).split(self.config.optimiser.batch)

    def _mixture(self) -> Mixture:
        """All draws of the run."""
        config = self.config
        transform = TrainingTransform(config.data, config.engine)
        shares = [source.weight for source in config.data.sources]
        draws = config.optimiser.steps * self.images_a_step
        return Mixture(self.sources, shares, transform, config.seed, draws)

    def resume(self) -> None:
        """Go back to where the run's last checkpoint was written.

        Raises:
            ConfigError: there is none; or as many images a step cannot be had from this number of processes.
        """
        state = self.processes.from_first(self.run.load_state)
        at_once = self.config.optimiser.batch * self.processes.count
        if state["images"] % at_once:
            times = state["images"] // self.config.optimiser.batch
            self.processes.fail(
                ConfigError(
                    f"a step of the run learns {times} times from {self.config.optimiser.batch} images, which "
                    f"{self.processes.count} processes cannot share: start a number of them that divides {times}"
                )
            )
        self.passes = state["images"] // at_once
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.objective.load_state_dict(state["objective"])
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": state["optimiser"], "param_groups": groups})
        self.step = state["step"]
        if self.processes.first:
            self.run.note_resume(self.step, self.processes.count)

    def train(self) -> None:
        """Run to the last step, or until stopped."""
        with Progress(self.run, self.step, shown=self.processes.first) as progress:
            # A run may have ended while it was validated.
            due = self.step > 0 and self._at(self.config.schedule.validate_every)
            if due and self.processes.first and self.step not in [each["step"] for each in self.run.metrics()]:
                self.validate(progress)
            for passes in self.batches():
                parts = self.train_step(passes)
                self.step += 1
                progress.advance(self.step, parts)
                stopping = self.processes.any(self.stopping)
                # Before validation: whoever asks a run to stop may not wait until that is done.
                if (
                    stopping
                    or self._at(self.config.schedule.checkpoint)
                    or self._at(self.config.schedule.validate_every)
                ):
                    self.save()
                if self._at(self.config.schedule.validate_every) and not stopping:
                    if self.processes.first:
                        self.validate(progress)
                    stopping = self.processes.any(self.stopping)
                if stopping:
                    progress.say(f"stopped after step {self.step}; go on with --resume")
                    break

    def _at(self, every: int) -> bool:
        """Whether what is done every so many steps, and after the last, is done now."""
        return self.step % every == 0 or self.step == self.config.optimiser.steps

    def batches(self) -> Iterator[list[dict[str, Any]]]:
        """This process's batches of each step from the present one on, one for each pass."""
        config = self.config
        remaining, who = range(self.step, config.optimiser.steps), self.processes
        loader = DataLoader(
            self._mixture(),
            batch_sampler=Draws(remaining, self.passes, config.optimiser.batch, who.rank, who.count),
            num_workers=config.data.workers,
            worker_init_fn=keep_out_of_the_way,
            pin_memory=self.device.type == "cuda",
        )
        batches = iter(loader)
        for _ in remaining:
            yield [next(batches) for _ in range(self.passes)]

    def train_step(self, passes: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """One step of the optimiser; returns the parts of the loss.

        Raises:
            NonFiniteLossError: the loss is NaN or infinite on some images of any process; the weights are as before.
        """
        optimiser = self.config.optimiser
        # Dropout, too, is a function of the step, so that a resumed run repeats it.
        torch.manual_seed((self.config.seed << 32) + self.step)
        factor = learning_rate_factor(self.step, optimiser)
        for group in self.optimiser.param_groups:
            group["lr"] = group["base_lr"] * factor
        # Rare classes are weighed up late (deferred re-weighting, Cao 2019): features are better learnt from all alike.
        loss = self.config.loss
        balanced = isinstance(loss, WeightedLossConfig) and self.step >= loss.balance_from
        weights = self.class_weights.to(self.device) if balanced and self.class_weights is not None else None
        tensors = [
            [batch[key].to(self.device, non_blocking=True) for key in ("image", "labels", "depth")] for batch in passes
        ]
        counts = torch.stack([Known.of(labels, depth, weights).counts for _, labels, depth in tensors]).sum(dim=0)
        whole = Known(self.processes.sum(counts))
        self.network.train()
        for block in self.still:
            block.eval()
        self.optimiser.zero_grad()
        found: list[dict[str, Tensor]] = []
        for number, (image, labels, depth) in enumerate(tensors, 1):
            with self._gradients_shared(last=number == len(tensors)):
                parts = self.learner(image, labels, depth, weights, whole)
                # The mean over the processes is taken of the gradients, and the sum is wanted.
                (parts["total"] * self.processes.count).backward()
            found.append({name: part.detach() for name, part in parts.items()})
        result = self._sum_of_parts(found, passes)
        nn.utils.clip_grad_norm_(self.network.parameters(), optimiser.clip)
        self.optimiser.step()
        if self.processes.first:
            self.average.update_parameters(self.network)
        return result

    def _gradients_shared(self, last: bool) -> Any:
        """Processes exchange gradients in the last pass of a step only."""
        if last or not isinstance(self.learner, DistributedDataParallel):
            return nullcontext()
        return self.learner.no_sync()

    def _sum_of_parts(self, found: list[dict[str, Tensor]], passes: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        names = list(found[0])
        values = self.processes.sum(torch.stack([torch.stack(list(parts.values())) for parts in found]).sum(dim=0))
        if not torch.isfinite(values[names.index("total")]):
            bad = [
                name
                for parts, batch in zip(found, passes, strict=True)
                if not torch.isfinite(parts["total"])
                for name in batch["name"]
            ]
            everywhere = sorted({name for each in self.processes.gather(bad) for name in each})
            total = values[names.index("total")].item()
            self.processes.fail(
                NonFiniteLossError(f"the loss is {total} at step {self.step}, on {', '.join(everywhere)}")
            )
        return dict(zip(names, values, strict=True))

    def validate(self, progress: Progress) -> None:
        """Score the averaged weights, show them, and keep them if they are the best so far."""
        network = self.average.module.eval()
        assert isinstance(network, HybridNet)
        engine, what = torch_engine(network, self.config), scored(self.config)
        figures = evaluate(engine, self.data, what)
        pictures = validation_pictures(engine, self.data, what)
        progress.validated(self.step, figures, summary(figures), pictures)
        if score(figures) > max([-np.inf, *map(score, self.run.metrics())]):
            self.run.save_best(network)
        self.run.append_metrics({"step": self.step, **figures})

    def save(self) -> None:
        """Write the checkpoint that --resume goes on from."""
        if self.processes.first:
            self.run.save_state(
                {
                    "network": self.network.state_dict(),
                    "average": self.average.state_dict(),
                    "objective": self.objective.state_dict(),
                    "optimiser": self.optimiser.state_dict()["state"],
                    "step": self.step,
                    "images": self.images_a_step,
                }
            )
