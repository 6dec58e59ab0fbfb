"""The demo's page needs nothing but itself, and shows what was measured."""

from __future__ import annotations

import base64
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo

from hybridnet_ros.demo.page import write_page
from hybridnet_ros.demo.recording import Frame, read_frames
from hybridnet_ros.demo.result import Result
from hybridnet_ros.node.recorder import Answer
from hybridnet_ros.resources import share_path
from tiny import TINY_LABELS, tiny_manifest, write_tiny_engine

VOID = {"meta", "link", "img", "input", "br", "hr"}


class Page(HTMLParser):
    """Collects what a page asks for and shows, and that its elements are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        assert not self._open, f"not closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return read_frames(share_path("demo", "kitti_sequence"), most=8)


@pytest.fixture(scope="module")
def answers(frames: list[Frame]) -> dict[int, Answer]:
    """Answers to all frames but one: 10 m everywhere, the sky beyond range."""
    made = {}
    for index, frame in enumerate(frames):
        depth = np.full(frame.lidar.shape, 10, np.float32)
        labels = np.zeros(frame.lidar.shape, np.uint8)
        depth[:100], labels[:100] = np.inf, TINY_LABELS.index("sky")
        labels[-1] = 255
        confidence = np.full(labels.shape, 204, np.uint8)
        made[index] = Answer(index, 40.0, depth, labels, confidence, CameraInfo())
    del made[3]
    return made


@pytest.fixture
def result() -> Result:
    return Result(
        sent=8,
        answered=7,
        rate_hz=9.9,
        age_p50_ms=40.0,
        age_p95_ms=61.0,
        ages_ms=(30.0, 40.0, 41.0, None, 39.0, 40.0, 62.0, 45.0),
        depth={"abs_rel": 0.123, "rmse": 4.56, "delta1": 0.789, "pixels": 1000, "missing": 10},
        confidence=0.8,
        engine="tiny (3 classes) on <ONNX> & CPU",
        machine="a machine",
        domain=42,
        node_values={"state": "active"},
    )


@pytest.fixture
def page(tmp_path: Path, result: Result, frames: list[Frame], answers: dict[int, Answer]) -> str:
    manifest = tiny_manifest(write_tiny_engine(tmp_path))
    write_page(tmp_path / "index.html", result, frames, answers, manifest)
    return (tmp_path / "index.html").read_text()


def test_it_asks_nothing_of_any_network(page: str) -> None:
    parsed = Page(page)
    assert parsed.addresses and all(address.startswith("data:") for address in parsed.addresses)
    assert not {"script", "iframe", "object"} & set(parsed.tags)
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert style and "url(" not in style[1] and "@import" not in style[1]
    assert "http://" not in page and "https://" not in page


def test_every_picture_decodes_at_the_size_it_states(page: str) -> None:
    pictures = re.findall(r'<img src="data:image/(jpeg|png);base64,([^"]+)"([^>]*)>', page)
    assert len(pictures) == page.count("<img ") == 6 * 3 + 1
    for _, code, attributes in pictures:
        picture = cv2.imdecode(np.frombuffer(base64.b64decode(code, validate=True), np.uint8), cv2.IMREAD_COLOR)
        assert "alt=" in attributes
        if size := re.search(r'width="(\d+)" height="(\d+)"', attributes):
            assert picture.shape[:2] == (int(size[2]), int(size[1])) == (375, 1242)


def test_it_shows_figures_classes_and_licence(page: str) -> None:
    text = Page(page).text
    for words in ("7 / 8", "9.9 Hz", "40 ms", "61 ms", "0.123", "4.56 m", "0.789", "a machine", "42", "KITTI",
                  "Attribution-NonCommercial-ShareAlike 3.0", "tiny (3 classes) on <ONNX> & CPU"):  # fmt: skip
        assert words in text, words
    legend = {name: color for color, name in re.findall(r'background:(#\w{6})"></i>([\w ,]+?) ?<', page)}
    assert legend["road"] == "#804080" and legend["sky"] == "#4682b4" and legend["unlabelled"] == "#000000"
    assert "car" not in legend, "only classes that are in the pictures"
    assert "beyond range, sky" in legend


def test_the_pictures_have_the_colours_of_their_legend(page: str) -> None:
    """JPEG keeps plain areas to within a few levels."""
    legend = {name: color for color, name in re.findall(r'background:(#\w{6})"></i>([\w ,]+?) ?<', page)}
    code = re.findall(r'<img src="data:image/jpeg;base64,([^"]+)"[^>]*alt="Depth', page)[0]
    depth = cv2.imdecode(np.frombuffer(base64.b64decode(code), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    beyond = [int(legend["beyond range, sky"][start : start + 2], 16) for start in (1, 3, 5)]
    assert np.abs(depth[:90].reshape(-1, 3).astype(int) - beyond).max() <= 6


def test_the_chart_breaks_where_a_frame_has_no_answer(page: str) -> None:
    chart = page[page.index("<svg") : page.index("</svg>")]
    lines = re.findall(r'<path d="(M[^"]+)" stroke="var\(--ink\)"', chart)
    assert [line.count("L") for line in lines] == [2, 3]
    assert re.search(r'<path d="M428\.6 88V100"', chart), "frame 3 of 0 to 7"
    for y in re.findall(r"L[\d.]+ ([\d.]+)", " ".join(lines)):
        assert 0 <= float(y) <= 100


def test_results_without_lidar_are_written_as_json_that_anything_reads(result: Result, tmp_path: Path) -> None:
    nothing = {"abs_rel": math.nan, "rmse": math.nan, "delta1": math.nan, "pixels": 0, "missing": 0}
    blind = Result(**{**result.__dict__, "depth": nothing})
    blind.save(tmp_path / "result.json")
    read = json.loads((tmp_path / "result.json").read_text(), parse_constant=pytest.fail)
    assert read["depth"]["abs_rel"] is None
    assert read["ages_ms"][3] is None
    assert read["dropped"] == 1
    assert "frames answered" in blind.table()
