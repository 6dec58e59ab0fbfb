"""What the values of true labels mean: the bag's LabelInfo, a mapping, or a label set with other classes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from recordings import IMAGE, INFO, LABEL_INFO, LABELS, Recording, picture, true_labels, write_drive


def test_compressed_images_and_the_label_info_of_the_bag(evaluate_bag: Callable[..., Any], tmp_path: Path) -> None:
    bag = tmp_path / "drive"
    with Recording(bag) as recording:
        recording.label_info(LABEL_INFO, {10: "sky", 20: "car", 30: "road", 40: "hovercraft"})
        for n in range(2):
            recording.compressed(f"{IMAGE}/compressed", n / 10, picture(n), ".png", "rgb8; png compressed bgr8")
            values = np.array([30, 20, 10] + [40] * 253, np.uint8)[true_labels(n)]
            recording.compressed(f"{LABELS}/compressed", n / 10, values, ".png", "mono8; png compressed ")
            recording.info(INFO, n / 10, fx=160.0)
    named = evaluate_bag(bag, "--topic", f"{IMAGE}/compressed", "--labels-topic", f"{LABELS}/compressed", output="one")
    assert named.code == 0, named.said
    plain = evaluate_bag(write_drive(tmp_path / "plain", 2), "--labels-topic", LABELS, output="two")
    assert named.evaluation.total.segmentation == plain.evaluation.total.segmentation
    assert LABEL_INFO in named.evaluation.streams[0].label_reference

    mapping = tmp_path / "values.yaml"
    mapping.write_text("{10: sky, 20: car, 30: road}")
    mapped = evaluate_bag(bag, "--topic", f"{IMAGE}/compressed", "--labels-topic", f"{LABELS}/compressed", "--classes",
                          mapping, output="three")  # fmt: skip
    assert mapped.evaluation.total.segmentation == plain.evaluation.total.segmentation


def test_other_classes_are_compared_through_a_label_set(evaluate_bag: Callable[..., Any], tmp_path: Path) -> None:
    classes = tmp_path / "two.yaml"
    classes.write_text(
        "name: two\nnames: [ground, above]\ncolors: [[0, 0, 0], [1, 1, 1]]\nids: [0, 1]\nfrom_tiny3: [0, 0, 1]\n"
    )
    with Recording(tmp_path / "drive") as recording:
        recording.info(INFO, 0.0, fx=160.0)
        recording.image(IMAGE, 0.0, picture(0), "rgb8")
        recording.image(LABELS, 0.0, np.array([0, 0, 1] + [255] * 253, np.uint8)[true_labels(0)], "mono8")
    outcome = evaluate_bag(tmp_path / "drive", "--topic", IMAGE, "--labels-topic", LABELS, "--classes", classes)
    assert outcome.code == 0, outcome.said
    assert outcome.evaluation.total.segmentation.class_names == ("ground", "above")
    plain = evaluate_bag(write_drive(tmp_path / "plain", 1), "--labels-topic", LABELS, output="two")
    n = np.array(plain.evaluation.total.segmentation.confusion)[:, :3]
    merged = [[n[:2, :2].sum(), n[:2, 2].sum(), 0], [n[2, :2].sum(), n[2, 2], 0]]
    assert [list(row) for row in outcome.evaluation.total.segmentation.confusion] == merged
