"""Joint training's stream of samples: sources mixed by weight, each draw a function of seed and number alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from training.data.sample import Samples
from training.data.transforms import TrainingTransform


class Mixture(Dataset):
    """Draw `i` is the same whoever asks and whenever, so a resumed run sees the samples it would have seen."""

    def __init__(
        self,
        sources: Sequence[Samples],
        weights: Sequence[float],
        transform: TrainingTransform,
        seed: int,
        draws: int,
    ) -> None:
        """`sources[k]` is drawn with probability weights[k] / sum(weights); `draws` is the stream's length."""
        self.sources = sources
        self.probabilities = np.asarray(weights, float) / np.sum(weights)
        self.transform = transform
        self.seed = seed
        self.draws = draws

    def __len__(self) -> int:
        """Length of the stream."""
        return self.draws

    def __getitem__(self, draw: int) -> dict[str, NDArray | str]:
        """-> what the transform gives, and `name`."""
        rng = np.random.default_rng((self.seed, draw))
        source = self.sources[rng.choice(len(self.sources), p=self.probabilities)]
        sample = source[int(rng.integers(len(source)))]
        return {**self.transform(sample, rng), "name": sample.name}


@dataclass(frozen=True)
class Draws:
    """The numbers of the draws that one process makes, a batch at a time.

    A step is `passes` passes, a pass one batch on each process, one process after the other: N processes together make
    the draws that one process makes whose batch is N times as large.

    Attributes:
        steps: first and behind the last.
        passes: of one step.
        batch: images that one process takes at a time.
        rank: the number of this process.
        count: of processes.
    """

    steps: range
    passes: int
    batch: int
    rank: int = 0
    count: int = 1

    def __len__(self) -> int:
        """Number of batches."""
        return len(self.steps) * self.passes

    def __iter__(self) -> Iterator[list[int]]:
        """The draws of each batch."""
        for number in range(self.steps.start * self.passes, self.steps.stop * self.passes):
            first = (number * self.count + self.rank) * self.batch
            yield list(range(first, first + self.batch))
