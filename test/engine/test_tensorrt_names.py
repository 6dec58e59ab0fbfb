"""Every name of TensorRT that our code uses, against the names that each version has.

data/tensorrt_names/ lists them as they were read off the real modules. A name that is missing in one version may be
used only where the same file looks it up first: `trt.has("Class.name")` or `trt.get("Class.name")`.
"""

from __future__ import annotations

import ast
import json
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import pytest

import hybridnet_ros

ENGINE = Path(hybridnet_ros.__file__).parent / "engine"
DATA = Path(__file__).with_name("data") / "tensorrt_names"
VERSIONS = ("8.6.0", "10.3.0", "10.13.3.9", "10.14.1.48", "10.16.1.11", "11.0.0.114", "11.4.0.106")

# What objects of TensorRT are called in our code; `self._NAME` is the same.
OBJECTS = {
    "builder": "Builder",
    "config": "IBuilderConfig",
    "context": "IExecutionContext",
    "cuda_engine": "ICudaEngine",
    "host_memory": "IHostMemory",
    "inspector": "EngineInspector",
    "network": "INetworkDefinition",
    "network_tensor": "ITensor",
    "optimization_profile": "IOptimizationProfile",
    "parser": "OnnxParser",
    "parser_error": "ParserError",
    "runtime": "Runtime",
    "runtime_config": "IRuntimeConfig",
    "timing_cache": "ITimingCache",
}
# Names put together at run time: with what.
PUT_TOGETHER = {
    "NetworkDefinitionCreationFlag.{}": ("STRONGLY_TYPED", "EXPLICIT_BATCH"),
    "BuilderFlag.{}": ("FP16", "BF16", "INT8"),
    "PreviewFeature.{}": ("PROFILE_SHARING_0806", "DISABLE_EXTERNAL_TACTIC_SOURCES_FOR_CORE_0805"),
}
# Named so in our code, and nothing of TensorRT's.
OURS = {"hybridnet_ros/engine/tensorrt_engine.py": {"network"}}
# Used only where another name was looked up and found.
BEHIND = {
    "IRuntimeConfig.dynamic_shapes_kernel_specialization_strategy": "DynamicShapesKernelSpecializationStrategy.EAGER"
}
RTX_ONLY = {"DynamicShapesKernelSpecializationStrategy.EAGER"}


class Use(NamedTuple):
    """A dotted name and where it stands."""

    name: str
    file: str
    line: int


def sources() -> list[Path]:
    """Our files that have to do with TensorRT's own objects."""
    return [
        path
        for path in sorted(ENGINE.glob("*.py"))
        if "trt.module" in path.read_text() or "module.I" in path.read_text()
    ]


@lru_cache
def names(version: str) -> set[str]:
    listed = json.loads((DATA / f"tensorrt-{version}.json").read_text())
    assert listed["version"].startswith(version)
    return {
        name
        for kind, members in listed["names"].items()
        for name in (kind, *(f"{kind}.{each}" for each in members or ()))
    }


def rtx_names() -> set[str]:
    import tensorrt_rtx

    return {
        name
        for kind in dir(tensorrt_rtx)
        for name in (kind, *(f"{kind}.{each}" for each in dir(getattr(tensorrt_rtx, kind))))
    }


def last_name(node: ast.expr) -> str:
    """`context` of `context`, `self._context` and `self._network._context`."""
    if isinstance(node, ast.Name):
        return node.id
    return node.attr.lstrip("_") if isinstance(node, ast.Attribute) else ""


def dotted(node: ast.expr) -> str | None:
    """`A.B` of `trt.module.A.B` or `module.A.B`."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        if node.attr == "module":
            return ".".join(parts)
        parts.insert(0, node.attr)
        node = node.value
    return ".".join(parts) if isinstance(node, ast.Name) and node.id == "module" else None


def is_look_up(node: ast.AST) -> bool:
    """Is it `trt.has(...)` or `trt.get(...)`?"""
    function = node.func if isinstance(node, ast.Call) else None
    return (
        isinstance(function, ast.Attribute) and function.attr in ("has", "get") and last_name(function.value) == "trt"
    )


def used() -> tuple[set[Use], set[Use], set[Use]]:
    """Names that must be there, names that are looked up, and patterns of names that are looked up."""
    needed, looked_up, patterns = set(), set(), set()
    for path in sources():
        file = str(path.relative_to(ENGINE.parents[1]))
        tree = ast.parse(path.read_text())
        objects = {name: kind for name, kind in OBJECTS.items() if name not in OURS.get(file, ())}
        for node in ast.walk(tree):  # kinds = trt.module.DataType
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and (kind := dotted(node.value)):
                objects[node.targets[0].id] = kind
        inner = {node.value for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                use = Use(dotted(node) or "", file, node.lineno)
                if use.name and node not in inner and "__" not in use.name:
                    needed.add(use)
                elif last_name(node.value) in objects and not node.attr.startswith("_"):
                    needed.add(use._replace(name=f"{objects[last_name(node.value)]}.{node.attr}"))
            elif is_look_up(node):
                argument = node.args[0]
                if isinstance(argument, ast.Constant):
                    looked_up.add(Use(argument.value, file, node.lineno))
                else:
                    assert isinstance(argument, ast.JoinedStr), f"{file}:{node.lineno}: a name that cannot be read"
                    text = "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in argument.values)
                    patterns.add(Use(text, file, node.lineno))
    return needed, looked_up, patterns


def test_all_versions_are_listed() -> None:
    assert {path.stem.removeprefix("tensorrt-") for path in DATA.glob("*.json")} == set(VERSIONS)


def test_the_walk_finds_what_is_used() -> None:
    needed, looked_up, patterns = used()
    found = {use.name for use in needed}
    assert {"Builder", "OnnxParser.parse", "IBuilderConfig.set_flag", "MemoryPoolType.WORKSPACE", "Runtime"} <= found
    assert {"ICudaEngine.get_tensor_name", "IExecutionContext.execute_async_v3", "DataType.UINT8"} <= found
    assert {"ILogger", "IProgressMonitor"} <= found | {use.name for use in looked_up}
    assert {use.name for use in patterns} == set(PUT_TOGETHER)


@pytest.mark.parametrize("version", [*VERSIONS, "RTX"])
def test_every_name_is_in_every_version_or_looked_up_first(version: str) -> None:
    has = rtx_names() if version == "RTX" else names(version)
    needed, looked_up, _ = used()
    asked = {(use.file, use.name) for use in looked_up}

    def may_be_missing(use: Use) -> bool:
        behind = BEHIND.get(use.name)
        if behind is not None:
            return (use.file, behind) in asked and behind not in has
        # `trt.has("IProgressMonitor")` covers its methods, too.
        return any((use.file, name) in asked for name in (use.name, use.name.split(".")[0]))

    missing = [
        f"{use.file}:{use.line}: {use.name}"
        for use in sorted(needed)
        if use.name not in has and not may_be_missing(use)
    ]
    assert not missing, f"TensorRT {version} has not: {missing}"


def test_every_name_that_is_looked_up_exists_somewhere() -> None:
    everywhere = set().union(*(names(version) for version in VERSIONS)) | rtx_names()
    _, looked_up, patterns = used()
    wanted = {use.name for use in looked_up} | {
        use.name.format(part) for use in patterns for part in PUT_TOGETHER[use.name]
    }
    assert wanted <= everywhere, wanted - everywhere
    assert {name for name in wanted if not any(name in names(version) for version in VERSIONS)} <= RTX_ONLY


def test_names_put_together_have_no_other_parts() -> None:
    texts = "".join(path.read_text() for path in sources())
    for parts in PUT_TOGETHER.values():
        assert all(f'"{part}"' in texts for part in parts)


def test_the_overridden_methods_are_those_of_every_version() -> None:
    for version in VERSIONS:
        has = names(version)
        assert "ILogger.log" in has
        if "IProgressMonitor" in has:
            assert {
                "IProgressMonitor.phase_start",
                "IProgressMonitor.phase_finish",
                "IProgressMonitor.step_complete",
            } <= has
    severities = {f"ILogger.{each}" for each in ("INTERNAL_ERROR", "ERROR", "WARNING")}
    assert all(severities <= names(version) for version in VERSIONS)
