"""How the benchmarks with ROS processes run: what `hybridnet benchmark node` and `transport` have in common."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from hybridnet_ros.terminal import Progress


def run_benchmark(name: str, measure: Callable[[Any, Path, Progress], Any], output: Path | None) -> int:
    """Measures, prints the table and writes the JSON.

    Args:
        name: of the benchmark, whose module is `NAME_benchmark`.
        measure: is given that module, a folder for what is needed meanwhile, and the progress; returns the report.
        output: the JSON file; None writes none.

    Returns:
        the exit code.
    """
    try:
        module = import_module(f"hybridnet_ros.benchmark.{name}_benchmark")
        from hybridnet_ros.benchmark.node_run import BenchmarkError
        from hybridnet_ros.engine import EngineError, ManifestError
        from hybridnet_ros.processes import ProcessDied
    except ImportError as error:
        print(
            f"hybridnet benchmark {name}: the module {error.name} is needed: source a ROS 2 installation and "
            "`pip install rosbags`, or get everything with `pip install '.[ros,offline]'`",
            file=sys.stderr,
        )
        return 1
    progress = Progress()
    try:
        with tempfile.TemporaryDirectory(prefix="hybridnet_") as folder:
            report = measure(module, Path(folder), progress)
        if output:
            report.save(output)
    except (BenchmarkError, EngineError, ManifestError, ProcessDied, OSError) as error:
        progress.close()
        print(f"hybridnet benchmark {name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        progress.close()
        print(f"hybridnet benchmark {name}: stopped", file=sys.stderr)
        return 130
    progress.close()
    print(report.table())
    return 0
