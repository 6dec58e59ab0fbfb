"""The pages in a real browser: no request, no complaint, every picture loads, nothing sticks out at any width.

These run where Chromium is installed. What can be checked without it is in test_report.py and test_compare.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import browser
from hybridnet_ros.offline.compare_page import write_comparison
from hybridnet_ros.offline.comparison import compare
from hybridnet_ros.offline.disagreement import disagreements
from hybridnet_ros.offline.report import write_report
from offline.evaluations import HEIGHT, WIDTH, make_evaluation
from offline.prediction_bags import write_predictions

pytestmark = pytest.mark.skipif(bool(browser.MISSING), reason=browser.MISSING)

BROKEN = "return [...document.images].filter(i => !(i.complete && i.naturalWidth)).map(i => i.alt)"
TOO_WIDE = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
SMALL_TEXT = """return [...document.querySelectorAll('body *')].filter(e => e.childNodes.length && e.offsetParent
  && [...e.childNodes].some(n => n.nodeType == 3 && n.data.trim()) && parseFloat(getComputedStyle(e).fontSize) < 11)
  .map(e => e.textContent)"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[browser.Browser]:
    with browser.Browser() as running:
        yield running


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A report with references, one without, and a comparison."""
    folder = tmp_path_factory.mktemp("pages")
    a = make_evaluation(folder / "a", seed=1)
    b = make_evaluation(folder / "b", seed=2, streams=3, references=False)
    random = np.random.default_rng(0)
    bags = []
    for name in ("predicted_a", "predicted_b"):
        depth = random.uniform(1, 80, (8, HEIGHT, WIDTH)).astype(np.float32)
        labels = random.integers(0, 3, (8, HEIGHT, WIDTH), np.uint8)
        bags.append(write_predictions(folder / name, depth, labels, first=17_000_000_000))
    c = make_evaluation(folder / "c", seed=3)
    write_comparison(compare(a, c), disagreements({0: (bags[0], bags[1])}), folder / "compare.html")
    return {
        "report": write_report(a, folder / "a"),
        "report without references": write_report(b, folder / "b"),
        "comparison": folder / "compare.html",
    }


@pytest.mark.parametrize("name", ["report", "report without references", "comparison"])
@pytest.mark.parametrize("width", [1400, 400])
@pytest.mark.parametrize("dark", [False, True])
def test_a_page_opens_by_itself(
    chromium: browser.Browser, pages: dict[str, Path], name: str, width: int, dark: bool
) -> None:
    chromium.open(pages[name], width, dark)
    assert chromium.script("return document.images.length") > 1
    assert chromium.script(BROKEN) == []
    assert chromium.script(TOO_WIDE) == 0
    assert chromium.script(SMALL_TEXT) == []
    assert chromium.requests() == [pages[name].resolve().as_uri()]
    assert chromium.complaints() == []


@pytest.mark.parametrize("name", ["report", "comparison"])
def test_a_page_prints_on_white_within_the_sheet(
    chromium: browser.Browser, pages: dict[str, Path], name: str, tmp_path: Path
) -> None:
    chromium.open(pages[name], 700, dark=True, paper=True)
    assert chromium.script("return getComputedStyle(document.body).color") == "rgb(28, 30, 33)"
    assert chromium.script(TOO_WIDE) == 0
    chromium.pdf(tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
