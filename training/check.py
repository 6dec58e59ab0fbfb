"""Look at every file of a run's data before hours are spent on it.

    python -m training.check training/configs/nyuv2.yaml --data DATA
    python -m training.check my_folder

Names the first bad file and what to do about it. Training does the same before its first step.
"""

import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from training.command import new_parser, reports
from training.config import RunConfig, load_config
from training.data.folder import PlainFolder
from training.data.label_sets import favoured, read_label_set
from training.data.sample import DataError, Samples
from training.data.sources import open_source, open_truth
from training.scores import passes


def check_config(config: RunConfig, data: Path) -> int:
    """Read all samples that a run would learn from or be scored on; returns their number.

    Raises:
        DataError: names the first bad file and the remedy.
        ConfigError: labels are not of the run's label set, or a class is favoured that is not in it.
    """
    favoured(config)
    label_set = read_label_set(config.data.label_set)
    total = 0
    for source in config.data.sources:
        total += check_samples(open_source(source, data, label_set), f"{source.kind} {source.path}")
    for validation in (config.validation, config.reported):
        for labels, depth in passes(validation) if validation else ():
            truth = labels or depth
            assert truth is not None
            samples = open_truth(truth, data, labels is not None, depth is not None)
            total += check_samples(samples, f"{truth.kind} {truth.path}")
    return total


def check_samples(samples: Samples, name: str) -> int:
    """Read all samples and look at them; returns their number. DataError names the first bad file."""
    # Threads: decoding is done outside of Python.
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        work = pool.map(lambda index: _check(samples, index), range(len(samples)))
        try:
            for _ in tqdm(work, desc=f"checking {name}", total=len(samples), unit="image", leave=False, disable=None):
                pass
        except DataError:
            pool.shutdown(cancel_futures=True)
            raise
    return len(samples)


def _check(samples: Samples, index: int) -> None:
    sample = samples[index]
    size = sample.image.shape[:2]
    for kind, target in (("labels", sample.labels), ("depth", sample.depth)):
        if target is not None and target.shape != size:
            raise DataError(
                f"{sample.name} is {size[1]}x{size[0]}, its {kind} {target.shape[1]}x{target.shape[0]}: "
                "they must be of one size"
            )
    if not (np.isfinite(sample.fx) and sample.fx > 0):
        raise DataError(f"{sample.name} has a focal length of {sample.fx} px: correct it, depth is scaled by it")
    if sample.depth is not None:
        known = np.isfinite(sample.depth)
        if not known.any():
            raise DataError(
                f"{sample.name}: its depth map has no valid pixel; replace the file, or remove it with its image"
            )
        if (sample.depth[known] <= 0).any():
            raise DataError(f"{sample.name}: its depth map has depths of 0 m or less; unknown depth must be marked so")


@reports()
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = new_parser("check", __doc__)
    parser.add_argument("what", type=Path, help="a run's config, or a plain folder with a dataset.yaml")
    parser.add_argument("--data", type=Path, help="the data folder; needed for a config")
    options = parser.parse_args(arguments)
    if options.what.is_file() and options.data is None:
        parser.error("a config needs --data, the folder that its paths are in")
    if options.what.is_file():
        count = check_config(load_config(options.what), options.data)
    else:
        count = check_samples(PlainFolder(options.what), str(options.what))
    print(f"{count} images and what belongs to them are in order")
    return 0


if __name__ == "__main__":
    sys.exit(main())
