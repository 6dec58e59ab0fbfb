"""Two evaluations side by side: which frames belong together, what is better, and where they are furthest apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hybridnet_ros import cli
from hybridnet_ros.offline.comparison import compare
from hybridnet_ros.offline.disagreement import Key, disagreements
from hybridnet_ros.offline.evaluation import Evaluation, load
from offline.evaluations import make_evaluation, with_frames
from offline.prediction_bags import write_predictions
from pages_reading import Page, check_self_contained


@pytest.fixture
def two(tmp_path: Path) -> tuple[Evaluation, Evaluation]:
    """The same recording with two engines."""
    return make_evaluation(tmp_path / "a", seed=1), make_evaluation(tmp_path / "b", seed=2)


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as end:
        cli.main(["compare", *words])
    return int(end.value.code or 0)


def test_frames_belong_together_by_recording_topic_and_stamp(two: tuple[Evaluation, Evaluation]) -> None:
    a, b = two
    shorter = with_frames(b, b.frames[5:])
    comparison = compare(a, shorter)
    assert [(pair.a.number, pair.b.number) for pair in comparison.pairs] == [(n, n) for n in range(5, 40)]
    assert (comparison.only_a, comparison.only_b) == (5, 0)


@pytest.mark.parametrize("changed", [{"fingerprint": "another"}, {"topic": "/another"}])
def test_other_recordings_have_no_frames_in_common(two: tuple[Evaluation, Evaluation], changed: dict[str, str]) -> None:
    a, b = two
    comparison = compare(a, replace(b, streams=(replace(b.streams[0], **changed),)))
    assert comparison.pairs == ()
    assert comparison.groups, "their figures can be set side by side all the same"


def test_two_precisions_of_one_network_are_compared_frame_by_frame(two: tuple[Evaluation, Evaluation]) -> None:
    a, b = two
    comparison = compare(a, replace(b, engine=replace(b.engine, precision="float16")))
    assert ("precision", "float32", "float16") in comparison.differences
    assert "labels" not in [what for what, _, _ in comparison.differences]
    assert len(comparison.pairs) == 40
    assert {each.name for each in comparison.paired} >= {"depth AbsRel", "mean IoU", "confidence"}


def test_better_is_less_error_and_more_accuracy(two: tuple[Evaluation, Evaluation]) -> None:
    a, b = two
    rows = {(group.name, row.name): row for group in compare(a, b).groups for row in group.rows}
    for name, attribute, more_is_better in (("AbsRel", "abs_rel", False), ("δ<1.25", "delta1", True)):
        left, right = getattr(a.total.depth, attribute), getattr(b.total.depth, attribute)
        row = rows["Depth", name]
        assert (row.a, row.b) == (f"{left:.3f}", f"{right:.3f}")
        assert row.better == ("B" if (right > left) == more_is_better else "A")
        assert row.change == f"{'+' if right > left else '−'}{abs(right - left):.3f}"
    band = rows["Labels from 10 to 20 m, by reference depth", "mean IoU"]
    assert (band.a, band.b) == tuple(f"{each.total.segmentation.bands[1].mean_iou:.3f}" for each in two)
    assert rows["Labels", "IoU road"].a == f"{a.total.segmentation.iou[0]:.3f}"
    assert rows["Depth", "pixels"].better == ""


def test_an_evaluation_is_equal_to_itself(two: tuple[Evaluation, Evaluation]) -> None:
    comparison = compare(two[0], two[0])
    assert comparison.differences == ()
    assert {row.change for group in comparison.groups for row in group.rows} == {"="}
    assert {row.better for group in comparison.groups for row in group.rows} == {""}
    assert all(not paired.furthest for paired in comparison.paired)
    assert {paired.mean for paired in comparison.paired} == {"0.000", "0.00 m"}


def test_the_frames_furthest_apart_come_first(two: tuple[Evaluation, Evaluation]) -> None:
    a, b = two
    paired = {each.name: each for each in compare(a, b, most=4).paired}["depth AbsRel"]
    known = [(x, y) for x, y in zip(a.frames, b.frames, strict=True) if x.depth and y.depth]
    expected = sorted(known, key=lambda pair: -abs(pair[0].depth.abs_rel - pair[1].depth.abs_rel))[:4]
    assert [pair.a.number for pair, _, _ in paired.furthest] == [x.number for x, _ in expected]
    assert paired.pairs == len(known)
    assert paired.a_better == sum(x.depth.abs_rel < y.depth.abs_rel for x, y in known)
    assert paired.a_better + paired.b_better == len(known)


def test_predictions_are_compared_pixel_by_pixel(tmp_path: Path) -> None:
    depth = np.full((6, 4, 8), 10, np.float32)
    labels = np.zeros((6, 4, 8), np.uint8)
    other_depth, other_labels = depth.copy(), labels.copy()
    other_depth[2] *= 1.5
    other_depth[3, 0, 0] = np.inf
    other_labels[4, :2] = 1
    a = write_predictions(tmp_path / "a", depth, labels)
    b = write_predictions(tmp_path / "b", other_depth[1:], other_labels[1:], first=1)
    found = disagreements({0: (a, b)}, wanted={Key(0, 500_000_000)}, most=1)
    assert found is not None
    assert found.frames == 5
    assert found.labels == pytest.approx(0.5 / 5)
    assert found.depth == pytest.approx(np.log(1.5) / 5)
    assert [key.stamp_ns // 100_000_000 for key in found.shown] == [2, 4, 5]
    assert found.shown[Key(0, 400_000_000)].labels == 0.5
    assert found.shown[Key(0, 200_000_000)].depth == pytest.approx(np.log(1.5))


def test_the_command_prints_figures_and_frames(
    tmp_path: Path, two: tuple[Evaluation, Evaluation], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(str(tmp_path / "a"), str(tmp_path / "b" / "evaluation.json")) == 0
    printed = capsys.readouterr().out
    assert f"{two[0].total.depth.abs_rel:.3f}" in printed
    assert "frames in both: 40, only in A: 0, only in B: 0" in printed
    assert "furthest apart in depth AbsRel" in printed


def test_the_page_has_the_figures_and_the_pictures(tmp_path: Path, two: tuple[Evaluation, Evaluation]) -> None:
    random = np.random.default_rng(0)
    replace(two[1], engine=replace(two[1].engine, shown_depth=(0.4, 10.0))).save(tmp_path / "b")
    for name in ("a", "b"):
        depth = random.uniform(1, 80, (40, 4, 8)).astype(np.float32)
        labels = random.integers(0, 3, (40, 4, 8), np.uint8)
        write_predictions(tmp_path / name / "predictions" / "0_drive_0", depth, labels, first=17_000_000_000)
    path = tmp_path / "page.html"
    assert run(str(tmp_path / "a"), str(tmp_path / "b"), "--output", str(path)) == 0
    page = Page(path)
    check_self_contained(page)
    assert len(page.pictures) > 6
    assert "Depth in metres 0.5 1 2 5 10 20 40 80 beyond" in page.text  # one key for both
    assert (len(page.pictures) - 1) % 6 == 0  # the colour bar, and six of each frame
    for group in compare(*two).groups:
        for row in group.rows:
            assert row.a in page.text, row
            assert row.change in page.text, row


def test_without_predictions_the_page_has_no_pictures(tmp_path: Path, two: tuple[Evaluation, Evaluation]) -> None:
    path = tmp_path / "page.html"
    assert run(str(tmp_path / "a"), str(tmp_path / "b"), "--output", str(path)) == 0
    assert Page(path).pictures == []
    assert "depth AbsRel" in Page(path).text


def test_recordings_that_get_no_curves_are_counted_on_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, name in enumerate("ab"):
        make_evaluation(tmp_path / name, seed=seed, frames=3, streams=14, pictures=False)
    assert run(str(tmp_path / "a"), str(tmp_path / "b"), "--output", str(tmp_path / "page.html")) == 0
    text = Page(tmp_path / "page.html").text
    assert "Curves are drawn of the first 12 recordings only; 2 more" in text
    assert "curves of 2 more recordings are left out" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "evaluate-bag writes one"), ("{", "is not JSON"), ("{}", "not an evaluation of format")],
)
def test_what_is_no_evaluation_is_refused(
    tmp_path: Path, two: object, capsys: pytest.CaptureFixture[str], content: str | None, said: str
) -> None:
    path = tmp_path / "other.json"
    if content is not None:
        path.write_text(content)
    assert run(str(tmp_path / "a"), str(path)) == 1
    error = capsys.readouterr().err
    assert said in error
    assert "other.json" in error


def test_evaluations_survive_the_file(tmp_path: Path, two: tuple[Evaluation, Evaluation]) -> None:
    assert load(tmp_path / "a") == two[0]


def test_evaluations_from_before_there_were_ends_of_the_depth_colours(two: tuple[Evaluation, Evaluation]) -> None:
    plain = two[0].to_dict()
    del plain["engine"]["shown_depth"]
    assert Evaluation.from_dict(plain) == two[0]
