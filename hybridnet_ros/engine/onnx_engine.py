"""Runs an engine's ONNX file with ONNX Runtime, on CUDA or on the CPU. The only file that imports onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from hybridnet_ros.engine.errors import EngineError
from hybridnet_ros.engine.manifest import Manifest

_OUTPUTS = ("depth", "labels", "confidence")
# Name, type and number of axes of everything that goes in and comes out.
_INPUT_CONTRACT = {"image": ("tensor(uint8)", 4)}
_OUTPUT_CONTRACT = {"depth": ("tensor(float)", 3), "labels": ("tensor(uint8)", 3), "confidence": ("tensor(uint8)", 3)}

_LOG_NOTHING = 4  # only what is fatal: everything else arrives as an exception, and is told in our words


class OnnxSession:
    """A network in ONNX Runtime.

    Attributes:
        runtime: "onnx_cuda" or "onnx_cpu".
        description: where it runs and why, for people.
    """

    def __init__(self, onnx: bytes, path: Path, manifest: Manifest, runtime: str, threads: int) -> None:
        """Loads the contents `onnx` of the file `path` and checks them against the contract of an engine.

        Args:
            onnx: the file's contents, already verified against the manifest.
            path: where they came from, for messages.
            manifest: the engine's manifest.
            runtime: "auto", "onnx_cuda" or "onnx_cpu".
            threads: CPU threads.

        Raises:
            EngineError: the file is no ONNX network, has other inputs or outputs, or `runtime` does not work here.
        """
        offered = "CUDAExecutionProvider" in ort.get_available_providers()
        cpu = f"ONNX Runtime {ort.__version__}, CPU, {threads} thread{'s' if threads > 1 else ''}"
        if runtime == "onnx_cpu":
            self._session = _load(onnx, path, threads, cuda=False)
            self.runtime, self.description = "onnx_cpu", f"{cpu} (as asked)"
        elif not offered:
            if runtime == "onnx_cuda":
                raise EngineError(
                    "this ONNX Runtime has no CUDA: install onnxruntime-gpu in place of onnxruntime, "
                    "or choose the runtime onnx_cpu or auto"
                )
            self._session = _load(onnx, path, threads, cuda=False)
            self.runtime, self.description = "onnx_cpu", f"{cpu} (this ONNX Runtime has no CUDA)"
        else:
            self._session = _load(onnx, path, threads, cuda=True)
            # ONNX Runtime does not raise when CUDA fails to start: it quietly goes on without it.
            if "CUDAExecutionProvider" in self._session.get_providers():
                self.runtime = "onnx_cuda"
                self.description = f"ONNX Runtime {ort.__version__}, CUDA"
            elif runtime == "onnx_cuda":
                raise EngineError(
                    "CUDA did not start in ONNX Runtime: check the GPU with nvidia-smi, and that the CUDA and cuDNN "
                    f"versions are those ONNX Runtime {ort.__version__} was built for, or choose the runtime onnx_cpu"
                )
            else:
                self.runtime, self.description = "onnx_cpu", f"{cpu} (CUDA did not start)"
        _check_contract(self._session, path, manifest)

    def run(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.uint8]]:
        """Depth, labels and confidence [N, H, W] of uint8 images [N, H, W, 3] whose sides the network takes."""
        try:
            depth, labels, confidence = self._session.run(_OUTPUTS, {"image": images})
        except Exception as error:  # ONNX Runtime's exceptions have no common base class of their own
            raise EngineError(f"ONNX Runtime failed on images {list(images.shape)}: {_first_line(error)}") from error
        return depth, labels, confidence

    def close(self) -> None:
        """Frees the network."""
        del self._session


def _load(onnx: bytes, path: Path, threads: int, cuda: bool) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _LOG_NOTHING
    # While a frame is computed the threads spin between operators, which is faster than waking them each time; when the
    # frame is done they sleep at once, because the same cores also carry the camera driver and DDS.
    options.add_session_config_entry("session.intra_op.allow_spinning", "1")
    options.add_session_config_entry("session.force_spinning_stop", "1")
    providers = ["CUDAExecutionProvider"] * cuda + ["CPUExecutionProvider"]
    try:
        return ort.InferenceSession(onnx, options, providers=providers)
    except Exception as error:  # ONNX Runtime's exceptions have no common base class of their own
        raise EngineError(
            f"ONNX Runtime cannot load {path}: {_first_line(error)}; "
            "export it again with python -m training.export or restore it with git checkout"
        ) from error


def _check_contract(session: ort.InferenceSession, path: Path, manifest: Manifest) -> None:
    """Refuses a network with other inputs or outputs than every engine has."""
    for what, contract, arguments in (
        ("input", _INPUT_CONTRACT, session.get_inputs()),
        ("output", _OUTPUT_CONTRACT, session.get_outputs()),
    ):
        found = {argument.name: (argument.type, len(argument.shape)) for argument in arguments}
        if found != contract:
            raise EngineError(
                f"{path} is no HybridNet engine: its {what}s are {_listed(found)}, expected {_listed(contract)}; "
                "export it with python -m training.export"
            )


def _listed(arguments: dict[str, tuple[str, int]]) -> str:
    return ", ".join(f"{name} {kind} with {axes} axes" for name, (kind, axes) in arguments.items()) or "none"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
