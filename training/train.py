r"""Train a network.

    python -m training.train training/configs/driving.yaml --data DATA --run runs/driving
    python -m training.train --resume --data DATA --run runs/driving
    python -m training.train training/configs/driving.yaml --set network=fcn8s --set seed=2 --data DATA --run runs/fcn8s
    python -m training.train training/configs/cityscapes.yaml --data DATA --run runs/hybridnet \
        --init runs/depthnet/best.safetensors --init-blocks global_depth refining_depth

Before the first step every file of the data is read once, and the first bad one named.
SIGINT and SIGTERM end the run after the step in hand, with a checkpoint; --resume goes on at exactly that step.
"""

import argparse
import signal
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from training.check import check_config
from training.config import ConfigError, OptimiserConfig, WeightedLossConfig
from training.data.mixture import Mixture
from training.data.sample import DataError
from training.data.sources import class_shares, open_source
from training.data.transforms import TrainingTransform
from training.evaluate import evaluate, score, scored, summary, torch_engine
from training.losses import class_weights
from training.networks import HybridNet, build_network
from training.networks.weights import load_blocks
from training.objective import build_objective
from training.run_folder import RunFolder


class NonFiniteLossError(RuntimeError):
    """The loss is NaN or infinite; the message names the images of the batch."""


class Trainer:
    """One run, from its first or any later step to its last."""

    def __init__(self, run: RunFolder, data: Path, device: torch.device) -> None:
        """Build the network; pretrained weights are read from the data folder."""
        config = run.config
        self.run, self.config, self.data, self.device = run, config, data, device
        torch.manual_seed(config.seed)
        weights = data / config.network.weights if config.network.weights else None
        self.network = build_network(config.network, len(run.labels), config.data.crop, weights).to(device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = AveragedModel(
            self.network, multi_avg_fn=get_ema_multi_avg_fn(config.optimiser.ema), use_buffers=True
        )
        self.objective = build_objective(config.loss, self.network).to(device)
        groups = parameter_groups(self.network, config.optimiser)
        learnt = list(self.objective.parameters())
        if learnt:
            groups.append({"params": learnt, "base_lr": config.optimiser.lr, "weight_decay": 0.0})
        self.optimiser = torch.optim.AdamW(groups)
        self.sources = [open_source(source, data, run.labels) for source in config.data.sources]
        self.class_weights = self._class_weights()
        self.step = 0
        self.best = -np.inf
        self.stopping = False

    def _class_weights(self) -> Tensor | None:
        """The weights of the classes in the label loss; to balance them, all labels are read once."""
        loss = self.config.loss
        balance = loss.label_balance if isinstance(loss, WeightedLossConfig) else 0
        if balance == 0:
            return None
        pixels = np.zeros(len(self.run.labels))
        for source, described in zip(self.sources, self.config.data.sources, strict=True):
            pixels += described.weight * class_shares(source, len(pixels))
        weights = class_weights(pixels.tolist(), balance)
        return None if weights is None else weights.to(self.device)

    def start_from(self, weights: Path, blocks: Sequence[str] = ()) -> None:
        """Take over the weights of an earlier run, or only those of some blocks; its optimiser and step are not."""
        try:
            load_blocks(self.network, weights, blocks)
        except ValueError as error:
            raise ConfigError(f"cannot start from {weights}: {error}") from error
        self.average.module.load_state_dict(self.network.state_dict())

    def resume(self) -> None:
        """Go back to where the run's last checkpoint was written."""
        state = self.run.load_state()
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.objective.load_state_dict(state["objective"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.best = state["step"], state["best"]
        self.run.note_resume(self.step)

    def train(self) -> None:
        """Run to the last step, or until stopped."""
        config = self.config
        steps = config.optimiser.steps
        writer = SummaryWriter(self.run.path / "tensorboard", purge_step=self.step)
        bar = tqdm(
            total=steps, initial=self.step, desc=config.engine.name, unit="step", dynamic_ncols=True, mininterval=5
        )
        for batch in self.batches():
            parts = self.train_step(batch)
            self.step += 1
            bar.update()
            if self.step % 20 == 0:
                values = {name: part.item() for name, part in parts.items()}
                bar.set_postfix({name: f"{value:.3f}" for name, value in values.items()})
                for name, value in values.items():
                    writer.add_scalar(f"loss/{name}", value, self.step)
            if self.step % config.schedule.validate_every == 0 or self.step == steps:
                bar.write(f"step {self.step}: {self.validate(writer)}")
            if self.step % config.schedule.checkpoint == 0 or self.step == steps or self.stopping:
                self.save()
            if self.stopping:
                bar.write(f"stopped after step {self.step}; go on with --resume")
                break
        writer.close()
        bar.close()

    def batches(self) -> Iterator[dict[str, Any]]:
        """The batches from the present step on."""
        config = self.config
        batch, total = config.optimiser.batch, config.optimiser.steps * config.optimiser.batch
        transform = TrainingTransform(config.data, config.engine)
        mixture = Mixture(self.sources, [s.weight for s in config.data.sources], transform, config.seed, total)
        loader = DataLoader(
            mixture,
            batch_size=batch,
            sampler=range(self.step * batch, total),
            num_workers=config.data.workers,
            worker_init_fn=_quiet_worker,
            pin_memory=self.device.type == "cuda",
        )
        return islice(loader, config.optimiser.steps - self.step)

    def train_step(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """One step of the optimiser; returns the parts of the loss."""
        optimiser = self.config.optimiser
        # Dropout, too, is a function of the step, so that a resumed run repeats it.
        torch.manual_seed((self.config.seed << 32) + self.step)
        factor = learning_rate_factor(self.step, optimiser)
        for group in self.optimiser.param_groups:
            group["lr"] = group["base_lr"] * factor
        image, labels, depth = (batch[key].to(self.device, non_blocking=True) for key in ("image", "labels", "depth"))
        self.network.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=optimiser.amp):
            output = self.network(image)
        # Rare classes are weighed up late (deferred re-weighting, Cao 2019): features are better learnt from all alike.
        loss = self.config.loss
        balanced = isinstance(loss, WeightedLossConfig) and self.step >= loss.balance_from
        parts: dict[str, Tensor] = self.objective(output, labels, depth, self.class_weights if balanced else None)
        if not torch.isfinite(parts["total"]):
            raise NonFiniteLossError(
                f"the loss is {parts['total'].item()} at step {self.step}, on " + ", ".join(batch["name"])
            )
        self.optimiser.zero_grad()
        parts["total"].backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), optimiser.clip)
        self.optimiser.step()
        self.average.update_parameters(self.network)
        return {name: part.detach() for name, part in parts.items()}

    def validate(self, writer: SummaryWriter) -> str:
        """Score the averaged weights, keep them if they are the best so far, and say how they did."""
        network = self.average.module.eval()
        assert isinstance(network, HybridNet)
        figures = evaluate(torch_engine(network, self.config), self.data, scored(self.config))
        if "labels" in figures:
            writer.add_scalar("validation/mean_iou", figures["labels"]["mean_iou"], self.step)
        if "depth" in figures:
            writer.add_scalar("validation/abs_rel", figures["depth"]["pooled"]["abs_rel"], self.step)
        self.run.append_metrics({"step": self.step, **figures})
        if score(figures) > self.best:
            self.best = score(figures)
            self.run.save_best(network)
        return summary(figures)

    def save(self) -> None:
        """Write the checkpoint that --resume goes on from."""
        self.run.save_state(
            {
                "network": self.network.state_dict(),
                "average": self.average.state_dict(),
                "objective": self.objective.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "step": self.step,
                "best": float(self.best),
            }
        )


def parameter_groups(network: HybridNet, config: OptimiserConfig) -> list[dict[str, Any]]:
    """Pretrained parts learn slower; biases and normalisation do not decay."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        pretrained = name.startswith(("features.", "global_depth.trunk."))
        groups.setdefault((pretrained, parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "base_lr": config.backbone_lr if pretrained else config.lr,
            "weight_decay": config.weight_decay if decays else 0.0,
        }
        for (pretrained, decays), parameters in groups.items()
    ]


def learning_rate_factor(step: int, config: OptimiserConfig) -> float:
    """Linear warm-up, then polynomial decay to zero."""
    return min(1.0, (step + 1) / max(config.warmup, 1)) * (1.0 - step / config.steps) ** config.power


def _quiet_worker(worker: int) -> None:
    # A worker is a process of its own: OpenCV's threads in each would only get in one another's way.
    cv2.setNumThreads(0)
    # Ctrl-C and a cluster's SIGTERM reach every process of a run; the main process ends it in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "config", type=Path, nargs="?", help="the run's description, e.g. training/configs/driving.yaml"
    )
    parser.add_argument("--data", type=Path, required=True, help="the data folder")
    parser.add_argument("--run", type=Path, required=True, help="the run's folder")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="changes", help="change a key of the config"
    )
    parser.add_argument("--init", type=Path, help="start from these weights, e.g. runs/first/best.safetensors")
    parser.add_argument(
        "--init-blocks", nargs="+", default=[], metavar="BLOCK", help="take over these blocks only, e.g. global_depth"
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run in that folder")
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="default here: %(default)s"
    )
    options = parser.parse_args(arguments)
    if (options.config is None) != options.resume:
        parser.error("give a config to start a run, or --resume to go on with one")
    if options.resume and (options.init or options.changes):
        parser.error("--init and --set start a run, --resume goes on with one as it is: give one of them")
    if options.init_blocks and not options.init:
        parser.error("--init-blocks names blocks of the weights given with --init")
    try:
        if options.resume:
            run = RunFolder.open(options.run)
        else:
            run = RunFolder.create(options.run, options.config, options.changes, options.init, options.init_blocks)
            check_config(run.config, options.data)
        trainer = Trainer(run, options.data, torch.device(options.device))
        if options.resume:
            trainer.resume()
        elif options.init:
            trainer.start_from(options.init, options.init_blocks)

        def stop(signum: int, frame: object) -> None:
            trainer.stopping = True

        signal.signal(signal.SIGINT, stop)
        signal.signal(signal.SIGTERM, stop)
        trainer.train()
    except (ConfigError, DataError, NonFiniteLossError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
