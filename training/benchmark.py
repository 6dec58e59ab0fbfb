"""PyTorch beside the runtimes of `hybridnet benchmark engine`, in one run and in turns with them.

    python -m training.benchmark runs/driving --size 1242x375 --batch 1,4 --output engines/measured/NAME.json

Times the run's best weights in PyTorch, as written and compiled by torch.compile (which needs a C++ compiler), and the
engine of the run's name in every runtime that works here.
"""

import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import torch

from hybridnet_ros.benchmark.engine_benchmark import Contender, Options, open_engines, run
from hybridnet_ros.benchmark.engine_command import add_measuring_arguments
from hybridnet_ros.benchmark.images import ImagesError
from hybridnet_ros.benchmark.meters import resident_bytes
from hybridnet_ros.terminal import Progress
from training.command import new_parser, reports
from training.evaluate import torch_engine
from training.run_folder import RunFolder


def torch_contenders(folder: RunFolder, device: str, backend: str) -> list[Contender]:
    """The run's best weights in PyTorch on `device`, eager and compiled."""
    contenders = []
    for name in ("pytorch_eager", "pytorch_compiled"):
        before = resident_bytes()
        network = folder.load_best().to(device)
        if name == "pytorch_compiled":
            # One graph for each size, as the other runtimes have; the first call compiles it.
            network.compile(dynamic=False, backend=backend)
        engine = torch_engine(network, folder.config)
        contenders.append(Contender(engine, name, None, resident_bytes() - before, device == "cpu"))
    return contenders


@reports(ImagesError, OSError)
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = new_parser("benchmark", __doc__)
    parser.add_argument("run", type=Path, help="the run's folder, e.g. runs/driving")
    parser.add_argument("engines", nargs="*", help="engines beside it, by name or path (that of the run's name)")
    parser.add_argument("--device", default="cpu", help="of PyTorch: cpu, cuda (%(default)s)")
    parser.add_argument("--backend", default="inductor", help="of torch.compile (%(default)s)")
    add_measuring_arguments(parser)
    options = parser.parse_args(arguments)
    with closing(Progress()) as progress:
        folder = RunFolder.open(options.run)
        if options.threads:
            torch.set_num_threads(options.threads)
        engines = options.engines or [folder.config.engine.name]
        contenders = torch_contenders(folder, options.device, options.backend)
        contenders += open_engines(engines, options.runtimes, options.threads, progress.show)
        report = run(contenders, Options.of(options), progress.show)
    print(report.table())
    if options.output:
        report.save(options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
