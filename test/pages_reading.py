"""Reads a page as a browser does, as far as that can be done without one: what it loads, and the text it shows."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np

_VOID = {"meta", "link", "img", "input", "br", "path"}
_LOADING = {"src", "href", "srcset", "action", "data", "poster", "xlink:href", "background", "formaction"}


class Page(HTMLParser):
    """A parsed page.

    Attributes:
        text: what it shows, blanks joined.
        loads: addresses in attributes and in CSS.
        pictures: (alternative text, decoded) of each img.
        tooltips: of all elements.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.pictures: list[tuple[str, np.ndarray | None]] = []
        self.tooltips: list[str] = []
        self.scripts = 0
        self._open: list[str] = []
        self._words: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert not self._open, f"never closed: {self._open}"
        self.text = re.sub(r"[ \t\n]+", " ", " ".join(self._words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _VOID:
            self._open.append(tag)
        given = dict(attrs)
        self.scripts += tag == "script"
        self.loads += [value or "" for name, value in attrs if name in _LOADING]
        self.loads += _css_addresses(given.get("style") or "")
        if "title" in given:
            self.tooltips.append(given["title"] or "")
        if tag == "img":
            kind, _, data = (given["src"] or "").partition(";base64,")
            assert kind in ("data:image/jpeg", "data:image/png"), kind
            raw = np.frombuffer(base64.b64decode(data, validate=True), np.uint8)
            self.pictures.append((given["alt"] or "", cv2.imdecode(raw, cv2.IMREAD_COLOR)))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self._open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "style":
            assert "@import" not in data
            self.loads += _css_addresses(data)
        else:
            self._words.append(data)


def check_self_contained(page: Page) -> None:
    """The page has everything in it: nothing is loaded, every picture decodes and is described in words."""
    assert page.scripts == 0
    assert [address for address in page.loads if not address.startswith("data:")] == []
    assert page.pictures
    for alternative, picture in page.pictures:
        assert alternative
        assert picture is not None, alternative


def _css_addresses(css: str) -> list[str]:
    return re.findall(r"url\(\s*['\"]?([^'\")]*)", css)
