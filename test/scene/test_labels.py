"""Label sets: names, colours, palettes, mappings, and the two sets that are shipped."""

import dataclasses

import numpy as np
import pytest
from cityscapesscripts.helpers.labels import labels as official_labels

from hybridnet_ros.resources import share_path
from hybridnet_ros.scene.labels import LabelError, LabelSet
from tiny import TINY_LABELS

CITYSCAPES = LabelSet.from_yaml(share_path("config", "labels", "cityscapes19.yaml"))
CAMVID = LabelSet.from_yaml(share_path("config", "labels", "camvid11.yaml"))


def test_cityscapes_names_colors_and_ids_are_the_official_ones():
    official = sorted((label for label in official_labels if not label.ignoreInEval), key=lambda label: label.trainId)
    assert CITYSCAPES.names == tuple(label.name for label in official)
    assert CITYSCAPES.colors == tuple(label.color for label in official)
    assert CITYSCAPES.ids == tuple(label.id for label in official)
    assert CITYSCAPES.ignore == 255


def test_every_cityscapes_class_is_counted_as_a_camvid_class():
    expected = {
        "road": "road", "sidewalk": "pavement", "building": "building", "wall": "building", "fence": "fence",
        "pole": "pole", "traffic light": "sign", "traffic sign": "sign", "vegetation": "tree", "terrain": "tree",
        "sky": "sky", "person": "pedestrian", "rider": "bicyclist", "car": "car", "truck": "car", "bus": "car",
        "train": "car", "motorcycle": "car", "bicycle": "bicyclist",
    }  # fmt: skip
    table = CAMVID.mapping_from("cityscapes19")
    assert {name: CAMVID.names[table[CITYSCAPES.index(name)]] for name in CITYSCAPES.names} == expected


def test_a_mapping_is_a_lookup_table_that_ignores_everything_else():
    table = CAMVID.mapping_from("cityscapes19")
    assert table.dtype == np.uint8 and table.shape == (256,)
    assert (table[19:] == CAMVID.ignore).all()
    labels = np.array([[0, 10], [255, 13]], np.uint8)
    assert table[labels].tolist() == [[3, 0], [255, 8]]


def test_an_unknown_mapping_lists_the_known_ones():
    with pytest.raises(LabelError, match="no mapping from 'ade20k'; it has: cityscapes19"):
        CAMVID.mapping_from("ade20k")


def test_index_finds_a_class_and_lists_the_names_otherwise():
    assert TINY_LABELS.index("sky") == 2
    with pytest.raises(LabelError, match="no class 'tram'; it has: road, car, sky"):
        TINY_LABELS.index("tram")


def test_palette_colors_the_classes_and_leaves_the_rest_black():
    palette = CITYSCAPES.palette()
    assert palette.dtype == np.uint8 and palette.shape == (256, 3)
    assert palette[0].tolist() == [128, 64, 128]
    assert not palette[19:].any()


@pytest.mark.parametrize("labels", [TINY_LABELS, CITYSCAPES, CAMVID], ids=lambda labels: labels.name)
def test_a_set_survives_to_dict_and_back(labels):
    assert LabelSet.from_dict(labels.to_dict()) == labels


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"names": ("road", "car")}, "2 names but 3 colors"),
        ({"names": ()}, "has 0 classes"),
        ({"names": ("road", "road", "sky")}, "names a class twice"),
        ({"ids": (1,)}, "3 names but 1 ids"),
        ({"colors": ((0, 0, 0), (0, 0, 256), (1, 1, 1))}, "three numbers from 0 to 255"),
        ({"ignore": 2}, "choose an id from 3 to 255"),
        ({"mappings": {"other": (0, 3)}}, "from_other: 3 is no class id; use 0 to 2, or 255"),
    ],
)
def test_a_set_whose_parts_do_not_fit_is_refused(change, reason):
    with pytest.raises(LabelError, match=reason):
        dataclasses.replace(TINY_LABELS, **change)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "expected the keys name, names, colors and ids"),
        ("name: x\nnames: [a]\nids: [0]\n", "needs 'colors'; it has: name, names, ids"),
        ("name: x\nnames: [a]\nids: [0]\ncolors: [1]\n", "not a label set"),
        ("name: [", "cannot read label set"),
        (None, "No such file"),
    ],
)
def test_a_bad_file_is_named_with_the_reason(tmp_path, text, reason):
    path = tmp_path / "bad.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(LabelError, match=reason) as caught:
        LabelSet.from_yaml(path)
    assert str(path) in str(caught.value)
