"""Segmentation scores: equal to the official Cityscapes evaluator's to the last digit."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as official
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hybridnet_ros.resources import share_path
from hybridnet_ros.scene.labels import LabelSet
from hybridnet_ros.scene.metrics import MetricsError, SegmentationMetrics

CITYSCAPES = LabelSet.from_yaml(share_path("config", "labels", "cityscapes19.yaml"))
VOID_IDS = [0, 1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 29, 30]
ABSENT = [CITYSCAPES.index("train"), CITYSCAPES.index("rider")]

labels_5 = st.lists(st.integers(0, 5), min_size=1, max_size=60).map(lambda values: np.array(values, np.uint8))


def street(generator: np.random.Generator, never: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """A truth in blocks of classes with void among them, and a prediction with errors; uint8 [64, 128] class ids."""
    classes = np.setdiff1d(np.arange(19), never)
    blocks = generator.choice(np.append(classes, 255), (8, 16))
    truth = np.kron(blocks, np.ones((8, 8))).astype(np.uint8)
    guesses = generator.choice(np.append(classes, 255), truth.shape)
    prediction = np.where(generator.random(truth.shape) < 0.25, guesses, truth).astype(np.uint8)
    return prediction, truth


def official_scores(
    folder: Path, pairs: list[tuple[np.ndarray, np.ndarray]]
) -> tuple[dict[str, float], float, np.ndarray]:
    """IoU of each class, their mean and the confusion matrix of Cityscapes' own evaluator, run on files."""
    generator = np.random.default_rng(1)
    to_ids = np.zeros(256, np.uint8)  # a prediction that is no class is written as 0, unlabeled
    to_ids[:19] = CITYSCAPES.ids
    predictions, truths = [], []
    for number, (prediction, truth) in enumerate(pairs):
        stem = f"town_{number:06}_000019"
        predictions.append(str(folder / f"{stem}_pred.png"))
        truths.append(str(folder / f"{stem}_gtFine_labelIds.png"))
        Image.fromarray(to_ids[prediction]).save(predictions[-1])
        void = generator.choice(np.array(VOID_IDS, np.uint8), truth.shape)
        Image.fromarray(np.where(truth == 255, void, to_ids[truth])).save(truths[-1])
    arguments = official.args
    arguments.quiet, arguments.JSONOutput, arguments.evalInstLevelScore = True, False, False
    results = official.evaluateImgLists(predictions, truths, arguments)
    confusion = np.array(results["confMatrix"])[np.ix_(CITYSCAPES.ids, CITYSCAPES.ids)]
    return results["classScores"], results["averageScoreClasses"], confusion


@pytest.mark.parametrize("seed", range(3))
def test_scores_equal_the_official_evaluator_to_the_last_digit(tmp_path, seed):
    generator = np.random.default_rng(seed)
    pairs = [street(generator, ABSENT) for _ in range(3)]
    metrics = SegmentationMetrics(19)
    for prediction, truth in pairs:
        metrics.add(prediction, truth)

    iou, mean_iou, confusion = official_scores(tmp_path, pairs)
    np.testing.assert_array_equal(metrics.confusion[:, :19], confusion)
    assert metrics.confusion[:, 19].sum() > 0, "the case must have predictions that are no class"
    np.testing.assert_array_equal(metrics.class_iou, [iou[name] for name in CITYSCAPES.names])
    assert np.isnan(metrics.class_iou[ABSENT]).all()
    assert metrics.mean_iou == mean_iou


def test_the_one_difference_is_a_class_that_is_predicted_but_nowhere_in_the_truth(tmp_path):
    train = CITYSCAPES.index("train")
    prediction, truth = street(np.random.default_rng(0), ABSENT)
    prediction[:2] = train
    metrics = SegmentationMetrics(19)
    metrics.add(prediction, truth)

    iou, _, _ = official_scores(tmp_path, [(prediction, truth)])
    assert iou.pop("train") == 0.0
    assert np.isnan(metrics.class_iou[train])
    others = dict(zip(CITYSCAPES.names, metrics.class_iou, strict=True))
    np.testing.assert_array_equal(
        [others[name] for name in iou if name in others], [iou[n] for n in iou if n in others]
    )


def test_scores_of_a_case_worked_out_by_hand():
    metrics = SegmentationMetrics(3)
    metrics.add(np.array([0, 0, 1, 1, 9, 2], np.uint8), np.array([0, 0, 0, 1, 1, 255], np.uint8))
    assert metrics.confusion.tolist() == [[2, 1, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0]]
    assert metrics.global_accuracy == 3 / 5
    np.testing.assert_array_equal(metrics.class_accuracies, [2 / 3, 1 / 2, math.nan])
    assert metrics.class_accuracy == (2 / 3 + 1 / 2) / 2
    np.testing.assert_array_equal(metrics.class_iou, [2 / 3, 1 / 3, math.nan])
    assert metrics.mean_iou == 0.5


@given(labels_5)
def test_the_truth_itself_scores_one(truth):
    metrics = SegmentationMetrics(5, ignore=5)
    metrics.add(truth, truth)
    if (truth < 5).any():
        assert metrics.global_accuracy == metrics.class_accuracy == metrics.mean_iou == 1.0
    else:
        assert math.isnan(metrics.mean_iou)


@given(st.lists(st.tuples(labels_5, st.randoms(use_true_random=False)), min_size=2, max_size=5))
def test_merging_is_the_same_as_adding_everything_to_one(cases):
    together, merged = SegmentationMetrics(5, ignore=5), SegmentationMetrics(5, ignore=5)
    for truth, random in cases:
        prediction = np.array(random.choices(range(6), k=len(truth)), np.uint8)
        alone = SegmentationMetrics(5, ignore=5)
        for metrics in (together, alone):
            metrics.add(prediction, truth)
        merged.merge(alone)
    np.testing.assert_array_equal(merged.confusion, together.confusion)


@given(labels_5, st.randoms(use_true_random=False))
def test_scores_stay_between_zero_and_one_and_ignore_pixel_order(truth, random):
    prediction = np.array(random.choices(range(7), k=len(truth)), np.int64)
    order = np.array(random.sample(range(len(truth)), len(truth)))
    metrics, shuffled = SegmentationMetrics(5, ignore=5), SegmentationMetrics(5, ignore=5)
    metrics.add(prediction, truth)
    shuffled.add(prediction[order], truth[order])
    np.testing.assert_array_equal(metrics.confusion, shuffled.confusion)
    scores = np.append(metrics.class_iou, (metrics.global_accuracy, metrics.class_accuracy, metrics.mean_iou))
    assert all(math.isnan(score) or 0 <= score <= 1 for score in scores)


def test_to_dict_is_json_with_null_for_absent_classes():
    metrics = SegmentationMetrics(2)
    metrics.add(np.zeros(4, np.uint8), np.zeros(4, np.uint8))
    data = json.loads(json.dumps(metrics.to_dict(["road", "car"]), allow_nan=False))
    assert data["iou"] == {"road": 1.0, "car": None}
    assert data["mean_iou"] == 1.0 and data["pixels"] == 4


def test_what_cannot_be_compared_is_refused():
    metrics = SegmentationMetrics(3)
    with pytest.raises(MetricsError, match="truth has the label 7: expected 0 to 2, or 255"):
        metrics.add(np.zeros(2, np.uint8), np.array([0, 7], np.uint8))
    with pytest.raises(MetricsError, match=r"prediction is \[2, 3\] and the truth \[3, 2\]"):
        metrics.add(np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8))
    with pytest.raises(MetricsError, match="same number of classes"):
        metrics.merge(SegmentationMetrics(4))
