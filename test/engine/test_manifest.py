"""The manifest: what is written is read back, and everything that is wrong is named."""

import dataclasses
import json
import os

import pytest

from hybridnet_ros.engine import EngineError, Manifest, ManifestError, load_manifest
from tiny import tiny_manifest, write_tiny_engine


@pytest.fixture
def onnx_path(tmp_path):
    return write_tiny_engine(tmp_path)


@pytest.fixture
def data(onnx_path):
    return json.loads(onnx_path.with_suffix(".json").read_text())


def test_what_is_saved_is_loaded(onnx_path):
    manifest = tiny_manifest(onnx_path)
    assert load_manifest(onnx_path.with_suffix(".json")) == manifest
    assert manifest.beyond_labels == (2,)
    hash(manifest)


def test_saving_replaces_the_file_in_one_step_and_leaves_nothing_behind(tmp_path, onnx_path):
    path = onnx_path.with_suffix(".json")
    reader = path.open()
    before = path.read_text()
    dataclasses.replace(tiny_manifest(onnx_path), network="another").save(path)
    assert reader.read() == before, "who has the old file open goes on reading the old file"
    reader.close()
    assert load_manifest(path).network == "another"
    assert sorted(os.listdir(tmp_path)) == ["tiny.json", "tiny.onnx"]
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


def test_an_invalid_manifest_is_never_written(tmp_path, onnx_path):
    path = onnx_path.with_suffix(".json")
    before = path.read_text()
    with pytest.raises(ManifestError, match="fx: -1.0"):
        dataclasses.replace(tiny_manifest(onnx_path), fx=-1.0).save(path)
    assert path.read_text() == before
    assert sorted(os.listdir(tmp_path)) == ["tiny.json", "tiny.onnx"]


def change(data, place, value):
    *parents, last = place
    for key in parents:
        data = data[key]
    data[last] = value


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [
        (("format_version",), 2, r"format_version: 1 was expected"),
        (("onnx_sha256",), "abc", "onnx_sha256: 'abc' does not match"),
        (("onnx",), "../other.onnx", "onnx: .* does not match"),
        (("precision",), "float16", "precision: 'float16' is not one of"),
        (("fx",), 0, "fx: 0 is less than or equal to the minimum"),
        (("fx",), "721", "fx: '721' is not of type 'number'"),
        (("fx",), 1e999, "Infinity is no JSON number"),
        (("input", "width"), 1.5, "input.width: 1.5 is not of type 'integer'"),
        (("input", "width"), 97, "input.width: 97 is not a multiple of input.multiple, 32"),
        (("depth_range",), [5, 5], "depth_range: expected the least depth first"),
        (("depth_range",), [5], r"depth_range: \[5\] is too short"),
        (("beyond",), ["heaven"], "beyond: no class is named 'heaven'"),
        (("labels", "colors"), [[0, 0, 0]], "labels: .*3 names but 1 colors"),
        (("labels", "colors", 1), [0, 0, 300], r"labels.colors\[1\]\[2\]: 300 is greater than the maximum"),
        (("training", "data", 0), {"name": "x"}, r"training.data\[0\]: 'licence' is a required property"),
        (("accuracy", 0, "value"), None, r"accuracy\[0\].value: None is not of type 'number'"),
        (("shown_depth",), [10.0, 0.6], "shown_depth: expected the least depth first, got 10.0 and 0.6"),
        (("parity", "tolerances"), {}, "parity: measured and tolerances need the same keys"),
        (("extra",), 1, r"top level: Additional properties are not allowed \('extra' was unexpected\)"),
    ],
    ids=str,
)
def test_each_violation_names_its_place_and_what_was_expected(onnx_path, data, place, value, reason):
    change(data, place, value)
    path = onnx_path.with_suffix(".json")
    path.write_text(json.dumps(data))
    with pytest.raises(ManifestError, match=reason) as caught:
        load_manifest(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("key", sorted(set(Manifest.__dataclass_fields__) - {"shown_depth"}))
def test_every_field_is_required(data, key):
    del data[key]
    with pytest.raises(ManifestError, match=f"top level: '{key}' is a required property"):
        Manifest.from_dict(data)


def test_engines_from_before_there_were_ends_of_the_depth_colours(data):
    assert Manifest.from_dict({**data, "shown_depth": [0.6, 10]}).shown_depth == (0.6, 10)
    del data["shown_depth"]
    assert Manifest.from_dict(data).shown_depth == (1.0, 80.0)


def test_all_violations_are_listed_together(data):
    data["fx"] = -1
    data["input"]["width"] = "wide"
    with pytest.raises(ManifestError) as caught:
        Manifest.from_dict(data)
    assert "fx: -1" in str(caught.value) and "input.width: 'wide'" in str(caught.value)


def test_a_missing_manifest_says_what_an_engine_is(tmp_path):
    with pytest.raises(ManifestError, match=r"nothing\.json: No such file.*\.onnx file with its \.json beside it"):
        load_manifest(tmp_path / "nothing.json")


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe\x00", b"[1, 2]", b"null", b'{"fx": NaN}'])
def test_a_file_that_is_no_manifest_is_refused(tmp_path, text):
    path = tmp_path / "bad.json"
    path.write_bytes(text)
    with pytest.raises(ManifestError, match="bad.json"):
        load_manifest(path)


def test_the_onnx_file_is_verified(onnx_path):
    manifest = load_manifest(onnx_path.with_suffix(".json"))
    original = onnx_path.read_bytes()
    assert manifest.read_onnx(onnx_path) == original
    for damaged in (original[:-1], original + b"\0", original[:100] + b"\0" + original[101:]):
        onnx_path.write_bytes(damaged)
        with pytest.raises(ManifestError, match=r"tiny\.onnx does not match its manifest.*training\.export"):
            manifest.read_onnx(onnx_path)
    onnx_path.unlink()
    with pytest.raises(ManifestError, match="cannot read the engine .*No such file"):
        manifest.read_onnx(onnx_path)


def test_whoever_catches_engine_errors_catches_manifest_errors():
    assert issubclass(ManifestError, EngineError)
