"""Bags are read without ROS, and whatever is wrong with one is said in words."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from hybridnet_ros.demo.recording import IMAGE_TOPIC, INFO_TOPIC, LIDAR_TOPIC
from hybridnet_ros.offline.bag import BagError, open_bag
from hybridnet_ros.resources import share_path

TYPES = get_typestore(Stores.ROS2_HUMBLE)
STRING = "std_msgs/msg/String"


@pytest.fixture
def demo_bag() -> Path:
    return share_path("demo", "kitti_sequence")


@pytest.fixture
def copied_bag(demo_bag: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(demo_bag, tmp_path / "bag"))


def write_strings(path: Path, storage: StoragePlugin, words: list[str]) -> None:
    with Writer(path, version=8, storage_plugin=storage) as writer:
        topic = writer.add_connection("/words", STRING, typestore=TYPES)
        writer.add_connection("/silence", STRING, typestore=TYPES)
        for number, word in enumerate(words):
            message = TYPES.types[STRING](word)
            writer.write(topic, 10**18 + number * 10**9, TYPES.serialize_cdr(message, STRING))


def test_the_shipped_bag_lists_its_topics(demo_bag: Path) -> None:
    with open_bag(demo_bag) as bag:
        assert {(topic.name, topic.type, topic.count) for topic in bag.topics} == {
            (IMAGE_TOPIC, "sensor_msgs/msg/CompressedImage", 40),
            (LIDAR_TOPIC, "sensor_msgs/msg/CompressedImage", 40),
            (INFO_TOPIC, "sensor_msgs/msg/CameraInfo", 40),
        }
        assert bag.duration_s == pytest.approx(3.9)


def test_the_shipped_bag_has_10_hz_stamps_that_agree_between_topics(demo_bag: Path) -> None:
    stamps: dict[str, list[int]] = {}
    with open_bag(demo_bag) as bag:
        for stamp_ns, topic, message in bag.messages():
            header = message.header
            assert stamp_ns == header.stamp.sec * 10**9 + header.stamp.nanosec
            assert header.frame_id == "camera_color_left_optical"
            stamps.setdefault(topic, []).append(stamp_ns)
    assert stamps[IMAGE_TOPIC] == stamps[LIDAR_TOPIC] == stamps[INFO_TOPIC]
    assert set(np.diff(stamps[IMAGE_TOPIC])) == {100_000_000}


def test_the_shipped_bag_has_kittis_calibration(demo_bag: Path) -> None:
    with open_bag(demo_bag) as bag:
        info = next(bag.messages(INFO_TOPIC)).message
    assert (info.width, info.height) == (1242, 375)
    assert info.k[0] == info.k[4] == 721.5377
    np.testing.assert_array_equal(info.p.reshape(3, 4)[:, :3], info.k.reshape(3, 3))
    assert not info.p.reshape(3, 4)[:, 3].any()


def test_the_shipped_bag_carries_its_licence_and_stays_small(demo_bag: Path) -> None:
    assert "CC BY-NC-SA 3.0" in (demo_bag / "LICENSE").read_text()
    assert "Geiger" in (demo_bag / "README.md").read_text()
    assert sum(path.stat().st_size for path in demo_bag.iterdir()) < 6_000_000


def test_raw_messages_are_the_same_messages_as_bytes(demo_bag: Path) -> None:
    with open_bag(demo_bag) as bag:
        raw = next(bag.raw(INFO_TOPIC))
        decoded = next(bag.messages(INFO_TOPIC))
    assert raw[:2] == decoded[:2]
    assert bytes(TYPES.serialize_cdr(decoded.message, "sensor_msgs/msg/CameraInfo")) == bytes(raw.message)


@pytest.mark.parametrize("storage", StoragePlugin)
def test_both_storages_are_read(storage: StoragePlugin, tmp_path: Path) -> None:
    write_strings(tmp_path / "bag", storage, ["one", "two"])
    with open_bag(tmp_path / "bag") as bag:
        assert [record.message.data for record in bag.messages("/words")] == ["one", "two"]
        assert bag.duration_s == 1.0


def test_one_mcap_file_is_a_bag_too(copied_bag: Path) -> None:
    with open_bag(copied_bag / "kitti_sequence.mcap") as bag:
        assert len(list(bag.raw(IMAGE_TOPIC))) == 40


def test_a_missing_bag_is_told_from_what_is_there(copied_bag: Path) -> None:
    with pytest.raises(BagError, match=r"no bag at .*kitti; .* holds bag"):
        open_bag(copied_bag.parent / "kitti")
    with pytest.raises(BagError, match=r"no bag at .*; .* holds bag"):
        open_bag(copied_bag.parent / "no" / "such" / "folder")


def test_a_folder_without_metadata_is_no_bag(copied_bag: Path) -> None:
    (copied_bag / "metadata.yaml").unlink()
    with pytest.raises(
        BagError, match=r"no metadata\.yaml; it holds LICENSE, README\.md, kitti_sequence\.mcap.*reindex"
    ):
        open_bag(copied_bag)


@pytest.mark.parametrize(
    "text", ["", "rosbag2_bagfile_information: 3", "{", "rosbag2_bagfile_information: {version: 8}"]
)
def test_damaged_metadata_is_reported(copied_bag: Path, text: str) -> None:
    (copied_bag / "metadata.yaml").write_text(text)
    with pytest.raises(BagError, match=r"bag cannot be read: "):
        open_bag(copied_bag)


def test_a_missing_storage_file_is_reported(copied_bag: Path) -> None:
    (copied_bag / "kitti_sequence.mcap").unlink()
    with pytest.raises(BagError, match=r"kitti_sequence\.mcap"):
        open_bag(copied_bag)


@pytest.mark.parametrize("kept", [0.0, 1e-6, 0.001, 0.3, 0.5, 0.9, 0.999, 0.999999])
def test_a_truncated_file_is_reported_wherever_it_ends(copied_bag: Path, kept: float) -> None:
    storage = copied_bag / "kitti_sequence.mcap"
    whole = storage.read_bytes()
    storage.write_bytes(whole[: int(len(whole) * kept)])
    with (
        pytest.raises(BagError, match=r"bag (cannot be read|is damaged): .*Copy it again"),
        open_bag(copied_bag) as bag,
    ):
        list(bag.messages())


def test_a_truncated_sqlite_file_is_reported(tmp_path: Path) -> None:
    write_strings(tmp_path / "bag", StoragePlugin.SQLITE3, ["word"] * 5000)
    storage = tmp_path / "bag" / "bag.db3"
    storage.write_bytes(storage.read_bytes()[:100_000])
    with pytest.raises(BagError, match=r"Copy it again"), open_bag(tmp_path / "bag") as bag:
        list(bag.messages())


def test_overwritten_bytes_are_reported(copied_bag: Path) -> None:
    storage = copied_bag / "kitti_sequence.mcap"
    damaged = bytearray(storage.read_bytes())
    damaged[2_000_000:2_500_000] = b"\xff" * 500_000
    storage.write_bytes(damaged)
    with pytest.raises(BagError, match="damaged"), open_bag(copied_bag) as bag:
        list(bag.messages())


def test_wrong_topics_and_types_are_told_from_what_is_there(tmp_path: Path) -> None:
    write_strings(tmp_path / "bag", StoragePlugin.MCAP, ["one"])
    with open_bag(tmp_path / "bag") as bag:
        assert bag.require("/words", STRING).count == 1
        with pytest.raises(
            BagError, match=r"no topic /image; it has /silence \(.*/words \(std_msgs/msg/String, 1 messages"
        ):
            bag.require("/image", STRING)
        with pytest.raises(BagError, match=r"holds std_msgs/msg/String, sensor_msgs/msg/Image is needed"):
            bag.require("/words", "sensor_msgs/msg/Image")
        with pytest.raises(BagError, match=r"nothing was recorded on /silence"):
            bag.require("/silence", STRING)
        with pytest.raises(BagError, match=r"no topic /image"):
            next(bag.messages("/image"))
