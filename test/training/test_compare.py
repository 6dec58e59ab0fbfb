"""Runs side by side: seeds make one row, gains are counted by hand, and what was evaluated is not evaluated again."""

import json
from pathlib import Path
from statistics import mean, stdev

import cv2
import pytest

from training import compare, train
from training.compare import Settings, evaluations
from training.comparison import Row, baselines, comparison_json, gains, rows_of
from training.config import ConfigError, RunConfig, load_config
from training.evaluation import Evaluation, Trained
from training.tables import all_tables, comparison_page

from .rooms import room_config, write_rooms

DEPTHS = ("delta1", "delta2", "delta3", "abs_rel", "sq_rel", "rmse", "rmse_log", "si_log")
# The paper's tables 1 and 2.
PAPER_HYBRIDNET = {"G": 0.9326, "C": 0.7947, "IoU": 0.6661}
PAPER_ASPP = {"G": 0.9099, "C": 0.7488, "IoU": 0.5802}
HYBRIDNET_DEPTH = (0.5968, 0.8221, 0.9194, 0.24, 4.27, 12.09, 0.4343, 0.26)
DEPTHNET_DEPTH = (0.6048, 0.8187, 0.9152, 0.23, 4.43, 12.35, 0.4340, 0.25)


def labels(scores: dict[str, float]) -> dict[str, object]:
    keys = ("global_accuracy", "class_accuracy", "mean_iou")
    return {"data": "drawn", "images": 3, "iou": {"wall": 0.5, "bed": None}} | dict(
        zip(keys, scores.values(), strict=True)
    )


def depth(values: tuple[float, ...]) -> dict[str, object]:
    figures = dict(zip(DEPTHS, values, strict=True))
    either = {"pooled": figures, "per_image": figures}
    return {"data": "drawn", "images": 3, "cap_m": None, **either, "to_80_m": either, "uncapped": either}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return room_config(tmp_path_factory.mktemp("recipe") / "rooms.yaml", steps=2, batch=4)


def config_of(recipe: Path, *changes: str) -> RunConfig:
    return load_config(recipe, ["network.initial_depth=4", "network.depth_scale=10", *changes])


def evaluation(
    name: str, config: RunConfig, split: str | None = None, weights: str = "best", **figures: dict[str, object]
) -> Evaluation:
    return Evaluation(name, "PyTorch", split, figures, run=Trained(config, weights, 2, "0" * 64, {}))


@pytest.fixture
def papers(recipe: Path) -> list[Row]:
    both = config_of(recipe, "network=hybridnet_vgg16")
    return rows_of(
        [
            ("hybridnet", evaluation("hybridnet", both, labels=labels(PAPER_HYBRIDNET), depth=depth(HYBRIDNET_DEPTH))),
            ("aspp", evaluation("aspp", config_of(recipe, "network=deeplab_aspp"), labels=labels(PAPER_ASPP))),
            ("depthnet", evaluation("depthnet", config_of(recipe, "network=depthnet"), depth=depth(DEPTHNET_DEPTH))),
            ("pledl", None),
        ]
    )


def test_the_papers_tables_come_out_as_the_paper_prints_them(papers: list[Row]) -> None:
    tables = all_tables(papers)
    assert "| hybridnet | deeplab_vgg16 | 1 | 93.26 | 79.47 | 66.61 |" in tables["Labels"]
    assert "| aspp | deeplab_vgg16 | 1 | 90.99 | 74.88 | 58.02 |" in tables["Labels"]
    assert "| pledl | -- | 0 of 1 | -- | -- | -- |" in tables["Labels"]
    assert "depthnet" not in tables["Labels"]
    head, _, first, *_ = tables["Depth, over all pixels"].splitlines()
    assert head == "|  | hybridnet | depthnet | pledl |"
    assert first == "| γ < 1.25 | 0.5968 | 0.6048 | -- |"
    assert "| RMSE-lin (m) | 12.0900 | 12.3500 | -- |" in tables["Depth, over all pixels"]
    assert tables["Depth, uncapped"] == tables["Depth to 80 m"] == "", "they are the same, and said once"
    assert tables["Labels, in tiles"] == tables["Depth, in tiles"] == tables["Cost of an image"] == ""
    assert "| bed | -- |" in tables["IoU by class"]


def test_the_gain_over_the_single_task_runs_is_counted_by_hand(papers: list[Row]) -> None:
    hybridnet, aspp, depthnet, pledl = papers
    assert baselines(hybridnet, papers) == {"labels": aspp, "depth": depthnet}
    assert baselines(aspp, papers) == baselines(depthnet, papers) == baselines(pledl, papers) == {}
    found = gains(hybridnet, papers)
    assert found["mean_iou"] == pytest.approx((66.61 - 58.02) / 58.02)
    assert found["rmse"] == pytest.approx((12.35 - 12.09) / 12.35), "less is better"
    assert found["delta1"] == pytest.approx((0.5968 - 0.6048) / 0.6048) and found["delta1"] < 0
    assert found["whole"] == pytest.approx((found["mean_iou"] + found["rmse"]) / 2)
    table = all_tables(papers)["Relative gain over the single-task runs"]
    assert table.splitlines()[2].startswith("| hybridnet | depthnet, aspp | +2.5 | +6.1 | +14.8 | -1.3 |")
    assert table.splitlines()[2].endswith("| +8.5 |") and len(table.splitlines()) == 3


def test_a_gain_without_its_single_task_run_is_empty(papers: list[Row]) -> None:
    hybridnet, aspp, _, _ = papers
    found = gains(hybridnet, [hybridnet, aspp])
    assert found["mean_iou"] is not None and found["rmse"] is None and found["whole"] is None
    assert baselines(hybridnet, [hybridnet]) == {}


def test_runs_that_differ_by_the_seed_are_one_row_with_mean_and_spread(recipe: Path) -> None:
    scores = [0.5, 0.6, 0.64]
    runs = [
        (f"aspp_{seed}", evaluation(
            f"aspp_{seed}", config_of(recipe, "network=deeplab_aspp", f"seed={seed}", f"data.workers={seed}"),
            labels=labels({"G": 0.9, "C": 0.7, "IoU": score}),
        ))
        for seed, score in enumerate(scores)
    ]  # fmt: skip
    (row,) = rows_of([*runs, ("aspp_3", None)])
    assert (row.name, row.planned, len(row.evaluations)) == ("aspp", 4, 3)
    assert row.mean("labels", "mean_iou") == pytest.approx(mean(scores))
    assert row.spread("labels", "mean_iou") == pytest.approx(stdev(scores))
    assert "| aspp | deeplab_vgg16 | 3 of 4 | 90.00 ± 0.00 | 70.00 ± 0.00 | 58.00 ± 7.21 |" in comparison_page([row])
    (described,) = json.loads(json.dumps(comparison_json([row]), allow_nan=False))
    assert described["measures"]["mean_iou"]["values"] == scores and described["runs"] == ["aspp_0", "aspp_1", "aspp_2"]


def test_runs_of_one_name_are_refused(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    for folder in (tmp_path, tmp_path / "other"):
        evaluation("net_1", config_of(recipe), labels=labels(PAPER_ASPP)).save(folder / "net_1.json")
    runs = [tmp_path / "net_1.json", tmp_path / "other" / "net_1.json"]
    with pytest.raises(ConfigError, match="there is another run called net_1"):
        evaluations(runs, Settings(None, tmp_path / "kept"))


def test_runs_that_cannot_be_compared_are_refused(recipe: Path) -> None:
    one = evaluation("net_1", config_of(recipe), labels=labels(PAPER_ASPP))
    other = evaluation("net_2", config_of(recipe, "optimiser.lr=0.5", "seed=2"), labels=labels(PAPER_ASPP))
    with pytest.raises(ConfigError, match=r"net_\.\.\. differ by more than the seed: optimiser\.lr"):
        rows_of([("net_1", one), ("net_2", other)])
    with pytest.raises(ConfigError, match=r"different splits \(None, test\)"):
        rows_of([("a", one), ("b", evaluation("b", config_of(recipe), split="test"))])
    with pytest.raises(ConfigError, match=r"different weights \(best, last\)"):
        rows_of([("a", one), ("b", evaluation("b", config_of(recipe), weights="last"))])


def test_the_command_evaluates_once_and_leaves_cells_of_absent_runs_empty(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, output = tmp_path / "data", tmp_path / "results"
    write_rooms(data / "rooms", 4)
    runs = [tmp_path / name for name in ("aspp_1", "aspp_2", "depth_1", "sole_1")]
    for path, network, seed in zip(runs, ("deeplab_aspp", "deeplab_aspp", "depthnet"), (1, 2, 1), strict=False):
        words = [recipe, "--data", data, "--run", path, "--device", "cpu"]
        changes = [f"network={network}", "network.initial_depth=4", "network.width=0.05", f"seed={seed}"]
        assert train.main([*map(str, words), *(word for change in changes for word in ("--set", change))]) == 0

    words = [str(word) for word in (*runs, "--output", output, "--device", "cpu")]
    assert compare.main(words) == 1
    assert "aspp_1 is not evaluated yet: say with --data" in capsys.readouterr().err
    assert compare.main([*words, "--data", str(data)]) == 0
    page = (output / "README.md").read_text()
    assert "| aspp | deeplab_vgg16 | 2 |" in page and "| sole | -- | 0 of 1 | -- | -- | -- |" in page
    assert "20 images of each, in turns" in page and "![" in page
    assert cv2.imread(str(output / "figure.png")).shape[1] > 5 * 132
    costs = {
        Evaluation.load(output / "runs" / f"{name}.json").cost.together for name in ("aspp_1", "aspp_2", "depth_1")
    }
    assert costs == {("aspp_1", "aspp_2", "depth_1")}

    # The same again from what is kept: no data, no other page; from the files alone as well.
    compared = (output / "comparison.json").read_text()
    assert compare.main(words) == 0
    kept = [output / "runs" / f"{name}.json" for name in ("aspp_1", "aspp_2", "depth_1")]
    assert (output / "README.md").read_text() == page and (output / "comparison.json").read_text() == compared
    assert compare.main([*map(str, kept), "--output", str(output)]) == 0
    assert "sole" not in (output / "README.md").read_text()
    # The last weights instead of the averaged ones, and other averaged ones, are other figures.
    assert compare.main([*words, "--weights", "last"]) == 1
    (runs[0] / "best.safetensors").write_bytes((runs[1] / "best.safetensors").read_bytes())
    assert compare.main(words) == 1
