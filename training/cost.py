"""What a network costs: parameters, multiplications with addition (MACs) and time for one image."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from hybridnet_ros.machine import machine
from training.config import EngineConfig
from training.networks import EngineGraph, HybridNet

IMAGES = 20  # that the median time is of
_WARM_UP = 3


@dataclass(frozen=True)
class Cost:
    """Of one image of `height` x `width` px at the network, post-processing included and resizing not.

    Attributes:
        parameters: numbers that training learns.
        macs: half of what PyTorch's `FlopCounterMode` counts: convolutions and matrix products.
        ms: median time.
        images: that it is the median of.
        device: processor or GPU, and the number of threads.
        together: names of the networks whose images were timed in turns with these.
    """

    height: int
    width: int
    parameters: int
    macs: int
    ms: float
    images: int
    device: str
    together: tuple[str, ...] = ()


def measure_costs(networks: Sequence[tuple[HybridNet, EngineConfig]], names: Sequence[str] = ()) -> list[Cost]:
    """The cost of each network at its engine's size, images in turns, so that what disturbs one disturbs all.

    All are on one device; `names` are noted with each.
    """
    device = next(networks[0][0].parameters()).device
    graphs = [EngineGraph(network, engine.depth_range).eval() for network, engine in networks]
    pictures = [_noise(engine, device) for _, engine in networks]
    times: list[list[float]] = [[] for _ in graphs]
    with torch.inference_mode():
        for turn in range(_WARM_UP + IMAGES):
            for graph, picture, each in zip(graphs, pictures, times, strict=True):
                took = _milliseconds(graph, picture)
                if turn >= _WARM_UP:
                    each.append(took)
    return [
        Cost(
            height=engine.height,
            width=engine.width,
            parameters=sum(parameter.numel() for parameter in network.parameters()),
            macs=count_macs(graph, picture),
            ms=median(each),
            images=IMAGES,
            device=describe_device(device),
            together=tuple(names),
        )
        for (network, engine), graph, picture, each in zip(networks, graphs, pictures, times, strict=True)
    ]


def count_macs(graph: EngineGraph, image: Tensor) -> int:
    """Multiplications with addition for `image` uint8 [1, H, W, 3]."""
    # Not in inference mode, behind which the counter cannot look.
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        graph(image)
    return counter.get_total_flops() // 2


def describe_device(device: torch.device) -> str:
    """The GPU's name, or the processor and how many threads compute."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, PyTorch {torch.__version__}"
    threads = torch.get_num_threads()
    return f"{machine()}, {threads} thread{'s' if threads > 1 else ''}, PyTorch {torch.__version__}"


def _noise(engine: EngineConfig, device: torch.device) -> Tensor:
    return torch.randint(0, 256, (1, engine.height, engine.width, 3), dtype=torch.uint8, device=device)


def _milliseconds(graph: EngineGraph, image: Tensor) -> float:
    start = time.perf_counter()
    graph(image)
    if image.device.type == "cuda":
        torch.cuda.synchronize(image.device)
    return 1e3 * (time.perf_counter() - start)
