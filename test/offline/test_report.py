"""The report of an evaluation: everything is in the one file, and every figure is on it."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest

from hybridnet_ros.offline.evaluation import PARTIAL, Evaluation
from hybridnet_ros.offline.figures import DepthFigures
from hybridnet_ros.offline.report import write_report
from hybridnet_ros.offline.wording import DEPTH, LABELS, OVERALL, STEADY, Wording
from offline.evaluations import make_evaluation, with_frames
from pages_reading import Page, check_self_contained


def test_every_figure_has_a_name_and_a_meaning() -> None:
    assert set(DEPTH) == {field.name for field in fields(DepthFigures)}
    for wording in (*DEPTH.values(), *OVERALL.values(), *LABELS.values(), *STEADY.values()):
        assert wording.name, wording
        assert wording.meaning, wording


def test_figures_are_written_with_their_digits_and_unit() -> None:
    assert Wording("a", "b", 0, 2, " m").text(1.2345) == "1.23 m"
    assert Wording("a", "b", 0, None).text(1234567) == "1\u202f234\u202f567"
    assert Wording("a", "b").text(None) == "–"


@pytest.mark.parametrize("references", [True, False])
def test_the_page_is_self_contained_and_has_all_pictures(tmp_path: Path, references: bool) -> None:
    evaluation = make_evaluation(tmp_path, references=references)
    page = Page(write_report(evaluation, tmp_path))
    check_self_contained(page)
    frames = {highlight.frame: len(highlight.pictures) for highlight in evaluation.highlights}
    assert len(page.pictures) == 1 + sum(frames.values())  # and the colour bar


def test_the_key_to_the_depth_colours_is_the_engines(tmp_path: Path) -> None:
    evaluation = make_evaluation(tmp_path)
    assert "Depth in metres 1 2 5 10 20 40 80 beyond" in Page(write_report(evaluation, tmp_path)).text
    indoor = replace(evaluation, engine=replace(evaluation.engine, shown_depth=(0.4, 10.0)))
    assert "Depth in metres 0.5 1 2 5 10 beyond" in Page(write_report(indoor, tmp_path)).text


def test_every_figure_over_the_frames_is_on_the_page_as_a_number(tmp_path: Path) -> None:
    evaluation = make_evaluation(tmp_path, streams=2)
    page = Page(write_report(evaluation, tmp_path))
    total = evaluation.total
    wanted = [(f"total.{name}", wording.text(getattr(total, name))) for name, wording in OVERALL.items()]
    wanted += [(f"labels.{name}", wording.text(getattr(total.segmentation, name))) for name, wording in LABELS.items()]
    wanted += [(f"steady.{name}", wording.text(getattr(total.consistency, name))) for name, wording in STEADY.items()]
    depths = {"pooled": total.depth, "per image": total.depth_per_image}
    depths.update({f"band {band.near:g}": band.depth for band in total.bands})
    depths.update({f"class {figures.name}": figures.depth for figures in total.classes})
    depths.update({f"stream {number}": stream.figures.depth for number, stream in enumerate(evaluation.streams)})
    for what, depth in depths.items():
        wanted += [(f"{what} {name}", wording.text(getattr(depth, name))) for name, wording in DEPTH.items()]
    for figures in total.classes:
        wanted += [(figures.name, f"{100 * figures.share:.1f} %"), (figures.name, f"{figures.confidence:.3f}")]
    for band in total.segmentation.bands:
        wanted += [(f"labels {band.near:g}", w.text(getattr(band, name))) for name, w in LABELS.items()]
        wanted += [(f"IoU {band.near:g}", f"{iou:.3f}") for iou in band.iou]
    wanted += [("score", f"{score:.3f}") for score in (*total.segmentation.accuracy, *total.segmentation.iou)]
    for stream in evaluation.streams:
        wanted += [("stream", w.text(getattr(stream.figures, name))) for name, w in OVERALL.items()]
        wanted += [("stream", stream.source), ("stream", stream.fingerprint), ("stream", stream.topic)]
    for value in (evaluation.engine.sha256, evaluation.engine.description, evaluation.engine.licence,
                  evaluation.run.machine, evaluation.run.started, "101.5 ms", "130.2 ms"):  # fmt: skip
        wanted.append(("identity", value))
    assert [(what, figure) for what, figure in wanted if figure not in page.text] == []
    for row in total.segmentation.confusion:
        for pixels in row:
            assert f"{pixels} pixels" in page.tooltips


@pytest.mark.parametrize(
    ("distance", "said"), [("reference", "The depth reference says"), ("predicted", "so the predicted depth says")]
)
def test_labels_by_distance_say_by_which_depth(tmp_path: Path, distance: str, said: str) -> None:
    evaluation = make_evaluation(tmp_path)
    segmentation = replace(evaluation.total.segmentation, distance=distance)
    page = Page(write_report(replace(evaluation, total=replace(evaluation.total, segmentation=segmentation)), tmp_path))
    assert said in page.text


def test_the_head_of_the_page_says_what_the_figures_mean(tmp_path: Path) -> None:
    evaluation = make_evaluation(tmp_path)
    total = evaluation.total
    depth = replace(total.depth, abs_rel=0.278, delta1=0.612, scale=0.8, pixels=900, missing=100)
    near, far = (replace(depth, abs_rel=error, pixels=5000) for error in (0.056, 0.49))
    bands = (replace(total.bands[0], depth=near), replace(total.bands[1], depth=far), *total.bands[2:])
    few = replace(total.bands[2], depth=replace(near, pixels=7))
    segmentation = replace(
        total.segmentation, global_accuracy=0.913, iou=(0.9, 0.4, 0.1), pixels=100_000,
        confusion=((60_000, 0, 0, 0), (0, 39_990, 0, 0), (0, 0, 10, 0)),
    )  # fmt: skip
    consistency = replace(total.consistency, labels=0.97, depth=0.05)
    total = replace(total, depth=depth, bands=(*bands[:2], few), segmentation=segmentation, consistency=consistency)
    text = Page(write_report(replace(evaluation, total=total), tmp_path)).text
    for sentence in (
        "Depth is off by 28 % on average; 61 % of the pixels are right within a factor of 1.25.",
        "Where there is a truth, 10 % of the pixels got no depth.",
        "By distance: 5.6 % from 0 to 10 m, 49 % from 10 to 20 m.",
        "On the whole depth is too near, by a factor of 1.25.",
        "91 % of the labelled pixels have the right class; best is road (IoU 0.90), worst car (0.40).",
        "From one frame to the next 97 % of the labels stay, and depth changes by 5.1 %.",
        "2 of 40 frames found no depth reference near enough in time, or none that fits.",
    ):
        assert sentence in text, sentence


def test_a_partial_evaluation_says_so_first(tmp_path: Path) -> None:
    evaluation = replace(
        make_evaluation(tmp_path), status=PARTIAL, problems=("drive_0 is damaged: cut off after frame 39",)
    )
    text = Page(write_report(evaluation, tmp_path)).text
    assert text.index("Partial.") < text.index("cut off after frame 39") < text.index("Over time")
    assert "Partial." not in Page(write_report(make_evaluation(tmp_path), tmp_path)).text


def test_without_references_it_says_what_cannot_be_known(tmp_path: Path) -> None:
    text = Page(write_report(make_evaluation(tmp_path, references=False), tmp_path)).text
    assert "nothing to compare with" in text
    assert "Confusion matrix" not in text
    assert "Depth error by distance" not in text
    assert "Least confident" in text


def test_pictures_that_are_gone_are_counted(tmp_path: Path) -> None:
    evaluation = make_evaluation(tmp_path, pictures=False)
    page = Page(write_report(evaluation, tmp_path))
    check_self_contained(page)
    assert "pictures of frames to look at are no longer in" in page.text


def test_text_from_a_recording_cannot_become_markup(tmp_path: Path) -> None:
    evaluation = make_evaluation(tmp_path)
    stream = replace(evaluation.streams[0], topic="/<script>alert(1)</script>", problems=("<img src=x>",))
    page = Page(write_report(replace(evaluation, streams=(stream,)), tmp_path))
    check_self_contained(page)
    assert "<script>alert(1)</script>" in page.text


@pytest.mark.parametrize("frames", [0, 1, 2])
def test_hardly_any_frame_is_enough_for_a_page(tmp_path: Path, frames: int) -> None:
    evaluation = make_evaluation(tmp_path)
    page = Page(write_report(with_frames(evaluation, evaluation.frames[:frames]), tmp_path))
    assert "Over time" in page.text


def test_the_page_stays_small_however_long_the_recording_is(tmp_path: Path) -> None:
    def size(frames: int) -> int:
        return write_report(with_pictures_left_out(frames), tmp_path).stat().st_size

    def with_pictures_left_out(frames: int) -> Evaluation:
        evaluation = make_evaluation(tmp_path / str(frames), frames=frames, references=False, pictures=False)
        return with_frames(evaluation, evaluation.frames)

    assert size(2400) < 1.2 * size(1200)


def test_the_old_page_stays_when_the_new_one_cannot_be_written(tmp_path: Path) -> None:
    evaluation = make_evaluation(tmp_path)
    path = write_report(evaluation, tmp_path)
    before = path.read_bytes()
    broken = replace(evaluation, total=replace(evaluation.total, classes=()))
    with pytest.raises(ValueError):
        write_report(broken, tmp_path)
    assert path.read_bytes() == before
    assert not list(tmp_path.glob(".*.tmp"))
