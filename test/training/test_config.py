import shlex
from pathlib import Path

import pytest
import yaml

from training import train
from training.config import NETWORKS, ConfigError, NetworkConfig, load_config, write_config

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "training" / "configs"
DRIVING = CONFIGS / "driving.yaml"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_configs_are_valid_and_have_a_card(path: Path) -> None:
    assert load_config(path).engine.name == path.stem
    assert "\n## " in path.with_suffix(".card.md").read_text()


@pytest.mark.parametrize("path", sorted(NETWORKS.glob("*.yaml")), ids=lambda path: path.stem)
def test_each_network_is_a_variant_of_each_recipe(path: Path) -> None:
    blocks = NetworkConfig(**yaml.safe_load(path.read_text()))
    for recipe in CONFIGS.glob("*.yaml"):
        config, own = load_config(recipe, [f"network={path.stem}"]), load_config(recipe).network
        # What the recipe says of its scenes stays, and weights that are of the same features.
        scene = {"initial_depth": own.initial_depth, "depth_scale": own.depth_scale}
        weights = own.weights if own.features == blocks.features else None
        assert config.network == blocks.model_copy(update={**scene, "weights": weights})
        assert config.data == load_config(recipe).data


def test_unknown_and_wrong_keys_are_refused_by_name(tmp_path: Path) -> None:
    values = yaml.safe_load(DRIVING.read_text())
    values["optimiser"]["learning_rate"] = 1
    values["data"]["sources"][1]["weight"] = -1
    values["loss"]["label_los"] = "ohem"
    del values["engine"]["fx"]
    path = tmp_path / "typo.yaml"
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(ConfigError) as refusal:
        load_config(path)
    for culprit in ("optimiser.learning_rate", "data.sources.1.weight", "engine.fx", "label_los", str(path)):
        assert culprit in str(refusal.value)


def test_missing_file_and_broken_yaml(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the config"):
        load_config(tmp_path / "none.yaml")
    (tmp_path / "broken.yaml").write_text("engine: [1,")
    with pytest.raises(ConfigError, match="is not YAML"):
        load_config(tmp_path / "broken.yaml")
    (tmp_path / "empty.yaml").write_text("")
    with pytest.raises(ConfigError, match="holds no keys"):
        load_config(tmp_path / "empty.yaml")


def test_a_variant_differs_by_what_is_set(tmp_path: Path) -> None:
    changes = ["network=fcn8s", "network.width=0.5", "seed=3", "data.sources.0.weight=2", "data.crop=[64, 96]"]
    recipe, variant = load_config(DRIVING), load_config(DRIVING, changes)
    assert variant.network.upsampling == "skip" and variant.network.width == 0.5
    assert (variant.seed, variant.data.sources[0].weight, variant.data.crop) == (3, 2, (64, 96))
    assert variant.engine == recipe.engine and variant.optimiser == recipe.optimiser
    paper = load_config(DRIVING, ["loss={kind: paper, reduction: caffe}"])
    assert paper.loss.kind == "paper" and paper.loss.alpha == 1000
    # What a run's folder keeps is the whole, changes included.
    for config in (recipe, variant, paper):
        write_config(config, tmp_path / "kept.yaml")
        assert load_config(tmp_path / "kept.yaml") == config


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("network=fcn8", "network: there is none called fcn8; there is deeplab_aspp"),
        ("network.upsamplin=light", "network.upsamplin: there is no such key; is upsampling meant?"),
        ("network.upsampling=lite", "network.upsampling: Input should be 'light', 'deeplab_aspp', 'skip' or 'segnet'"),
        ("seed", "--set seed: write KEY=VALUE"),
        ("data.sources.9.weight=1", "the config has no place data.sources.9.weight"),
        ("seed.more=1", "the config has no place seed.more"),
        ("network.upsampling=[", "or the value is not YAML"),
        ("data.crop=[100, 96]", "must be multiples of 32"),
        ("data.scale=[2, 1]", "the least first"),
        ("data.sources=[]", "there is none to learn from"),
        ("loss.kind=papers", "papers"),
        ("network={features: null, refining_depth: null, global_depth: null, upsampling: null}", "it predicts nothing"),
        ("network.features=null", "upsampling needs features"),
        ("network={refining_depth: null}", "global_depth is refined by nothing"),
        ("network={refining_depth: depthnet, depth_context: true}", "depth_context is of refining_depth: light"),
        ("network={refining_depth: light_layers}", "global_depth is refined by nothing"),
        ("optimiser.steps=100", "average_from: 4000 is not reached in 100 steps"),
        ("validation={}", "nothing that the network predicts is scored"),
    ],
)
def test_a_wrong_change_is_named(change: str, reason: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        load_config(DRIVING, [change])
    assert reason in str(refusal.value)


def test_the_commands_of_the_help_and_of_the_recipes_describe_runs() -> None:
    texts = [train.__doc__ or "", (ROOT / "README.md").read_text()]
    texts += [path.read_text().replace("\n#", "\n") for path in CONFIGS.glob("*.yaml")]
    found = 0
    for text in texts:
        for command in text.replace("\\\n", " ").splitlines():
            words = shlex.split(command, comments=True) if "training.train training/configs/" in command else []
            if words:
                recipe = next(ROOT / word for word in words if word.endswith(".yaml"))
                changes = [words[place + 1] for place, word in enumerate(words) if word == "--set"]
                load_config(recipe, changes)
                found += 1
    assert found >= 8
