"""Is an engine what its manifest and its card say? What can be told from its files, without any data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hybridnet_ros.engine.engine import Engine
from hybridnet_ros.engine.errors import EngineError
from hybridnet_ros.engine.manifest import Manifest, load_manifest
from hybridnet_ros.engine.onnx_engine import OnnxSession


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        what: manifest, file, network, licence, card or accuracy.
        passed: whether it is as it should be.
        found: what was found; where it did not pass, what is wrong and what to do.
    """

    what: str
    passed: bool
    found: str


def verify(path: Path) -> list[Check]:
    """Look at an engine's ONNX file, at the `.json` and the `.md` beside it; no check stops the others.

    Without a manifest that can be read there is only that one check, as nothing says what the rest should be.
    """
    try:
        manifest = load_manifest(path.with_suffix(".json"))
    except EngineError as error:
        return [Check("manifest", False, str(error))]
    checks = [Check("manifest", True, f"format {manifest.format_version}, satisfies its schema")]
    path = path.with_name(manifest.onnx)
    try:
        onnx = manifest.read_onnx(path)
    except EngineError as error:
        checks.append(Check("file", False, str(error)))
    else:
        checks.append(Check("file", True, f"SHA-256 {manifest.onnx_sha256}"))
        checks.append(_network(manifest, path, onnx))
    return [*checks, _licence(manifest), _card(manifest, path.with_suffix(".md")), _accuracy(manifest)]


def _network(manifest: Manifest, path: Path, onnx: bytes) -> Check:
    """Does ONNX Runtime open it, with the inputs and outputs of an engine?"""
    try:
        with Engine(manifest, OnnxSession(onnx, path, "onnx_cpu", 1)) as engine:
            return Check("network", True, f"opens: {engine.description}")
    except EngineError as error:
        return Check("network", False, str(error))


def _licence(manifest: Manifest) -> Check:
    unsaid = [source.name for source in manifest.training.data if not source.licence.strip()]
    if not manifest.licence.strip() or unsaid:
        missing = ", ".join(["the weights"] * (not manifest.licence.strip()) + unsaid)
        return Check("licence", False, f"the manifest gives no licence of {missing}: write it in the training config")
    return Check("licence", True, f"{manifest.licence}; {len(manifest.training.data)} sources, each with its own")


def _card(manifest: Manifest, card: Path) -> Check:
    """The card is written together with the file, and names it and the licence."""
    remedy = "python -m training.export writes both"
    try:
        text = card.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        return Check("card", False, f"cannot read the model card {card}: {error}; {remedy}")
    for what, needle in (("file (SHA-256)", manifest.onnx_sha256[:16]), ("licence", manifest.licence)):
        if needle not in text:
            return Check("card", False, f"the model card {card} does not name this {what}, {needle}: {remedy}")
    return Check("card", True, f"{card.name} names this file and its licence")


def _accuracy(manifest: Manifest) -> Check:
    if not manifest.accuracy:
        return Check("accuracy", False, "the manifest claims none: python -m training.export measures it")
    claims = ", ".join(f"{each.metric} {each.value:.4g} on {each.dataset}" for each in manifest.accuracy)
    commands = ", ".join(dict.fromkeys(each.command for each in manifest.accuracy))
    return Check("accuracy", True, f"claims {claims}; measured by {commands}")
