"""What goes wrong with engines; a caller that catches EngineError catches all of it."""

from __future__ import annotations


class EngineError(Exception):
    """An engine cannot be opened, or was given images it cannot take; the message names the thing and the remedy."""


class ManifestError(EngineError):
    """A manifest is missing, not valid, or does not belong to its ONNX file."""


class TensorRTError(EngineError):
    """TensorRT is missing, has no GPU to work with, or refused what it was asked."""


class PlanError(EngineError):
    """A TensorRT plan cannot be built, written, read, or trusted."""


class UnknownSizeError(PlanError):
    """A TensorRT plan was not built for images of this size."""


class BuildCancelled(PlanError):
    """Whoever asked for a plan stopped the build; nothing of it is left."""
