"""The processes that train one run together: this one alone, or as many as torchrun starts on one or many machines."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch import distributed as dist

from training.config import ConfigError
from training.data.sample import DataError

_T = TypeVar("_T")

# For as long as the first process validates, the others wait. A process that ends is noticed at once, by torchrun.
_PATIENCE = timedelta(hours=2)


class ReportedElsewhere(Exception):
    """The run cannot go on, for a reason that the first process says."""


@dataclass(frozen=True)
class Processes:
    """The processes of a run.

    Attributes:
        device: that this process computes on.
        rank: the number of this process; 0 writes the run's folder and talks to the user.
        count: of processes.
        local_rank: the number of this process on its machine.
    """

    device: torch.device
    rank: int = 0
    count: int = 1
    local_rank: int = 0

    @classmethod
    def join(cls, device: str) -> "Processes":
        """Meet the other processes, as the environment that torchrun sets says; without it, this process is alone.

        Raises:
            ConfigError: there are more processes on this machine than GPUs.
        """
        count = int(os.environ.get("WORLD_SIZE", 1))
        if count == 1:
            return cls(torch.device(device))
        local_rank = int(os.environ["LOCAL_RANK"])
        if device == "cuda":
            if local_rank >= torch.cuda.device_count():
                raise ConfigError(
                    f"process {local_rank} of this machine has no GPU, there are {torch.cuda.device_count()}: "
                    "give torchrun as many with --nproc-per-node, or train with --device cpu"
                )
            torch.cuda.set_device(local_rank)
            device = f"cuda:{local_rank}"
        dist.init_process_group("cpu:gloo,cuda:nccl" if "cuda" in device else "gloo", timeout=_PATIENCE)
        return cls(torch.device(device), dist.get_rank(), count, local_rank)

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and talks."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """Sum over the processes, of a tensor without gradient."""
        if self.count > 1:
            dist.all_reduce(values)
        return values

    def any(self, value: bool) -> bool:
        """Whether it is so on any process."""
        return bool(self.sum(torch.tensor(float(value), device=self.device)) > 0)

    def gather(self, value: _T) -> list[_T]:
        """The value of each process, on all."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value)
        return values

    def together(self, function: Callable[[], _T]) -> _T:
        """What `function` gives on this process; a wrong config or bad data on any process ends all of them."""
        error: ConfigError | DataError | None = None
        result: Any = None
        try:
            result = function()
        except (ConfigError, DataError) as found:
            error = found
        errors = [each for each in self.gather(error) if each is not None]
        if errors:
            self.fail(errors[0])
        return result

    def from_first(self, function: Callable[[], _T]) -> _T:
        """What `function` gives on the first process, on all."""
        result: list[Any] = [self.together(lambda: function() if self.first else None)]
        if self.count > 1:
            dist.broadcast_object_list(result, src=0)
        return result[0]

    def fail(self, error: Exception) -> None:
        """Raise an error that all processes know of: on the first itself, on the others `ReportedElsewhere`."""
        raise error if self.first else ReportedElsewhere(str(error))

    def leave(self) -> None:
        """Part from the others."""
        if self.count > 1:
            dist.destroy_process_group()
