"""Joint training's stream of samples: sources mixed by weight, each draw a function of seed and number alone."""

from collections.abc import Sequence

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
