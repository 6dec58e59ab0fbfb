"""A run from its description to its last step, started or gone on with as its folder stands."""

import sys
from dataclasses import dataclass
from pathlib import Path

from training import train
from training.comparison import differences
from training.config import ConfigError, RunConfig
from training.run_folder import RunFolder


@dataclass(frozen=True)
class PlannedRun:
    """A run that is to be trained, is being trained, or is done.

    Attributes:
        name: what messages call it.
        recipe: its config file.
        changes: of the recipe, as for `training.train --set`.
        config: what they make.
    """

    name: str
    recipe: Path
    changes: tuple[str, ...]
    config: RunConfig

    def train(self, folder: Path, data: Path, device: str) -> bool:
        """Start it, or go on with it; False, and said so, when it was stopped or failed before its last step."""
        arguments = ["--data", str(data), "--run", str(folder), "--device", device]
        if (folder / "last.safetensors").is_file():
            arguments.append("--resume")
        else:
            arguments.append(str(self.recipe))
            arguments += [word for change in self.changes for word in ("--set", change)]
        if train.main(arguments) != 0:
            return False
        if not self.finished(folder):
            print(f"{self.name} is not finished: the same command goes on with it", file=sys.stderr)
            return False
        return True

    def finished(self, folder: Path) -> bool:
        """Has it been trained to its last step?

        Raises:
            ConfigError: another run is in the folder; names what differs.
        """
        if not (folder / "config.yaml").is_file():
            return False
        run = RunFolder.open(folder)
        self.expect(run.config, folder)
        return any(record["step"] == self.config.optimiser.steps for record in run.metrics())

    def expect(self, config: RunConfig, where: Path) -> None:
        """ConfigError names what differs where `config` is not this run's."""
        other = differences(config, self.config)
        if other or config.seed != self.config.seed:
            raise ConfigError(f"{where} is another run than {self.name}: {', '.join(other) or 'seed'} differ")
