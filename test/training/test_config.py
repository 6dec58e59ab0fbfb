from pathlib import Path

import pytest
import yaml

from training.config import ConfigError, load_config

CONFIGS = Path(__file__).parents[2] / "training" / "configs"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_configs_are_valid_and_have_a_card(path: Path) -> None:
    assert load_config(path).engine.name == path.stem
    assert "\n## " in path.with_suffix(".card.md").read_text()


def test_unknown_and_wrong_keys_are_refused_by_name(tmp_path: Path) -> None:
    values = yaml.safe_load((CONFIGS / "driving.yaml").read_text())
    values["optimiser"]["learning_rate"] = 1
    values["data"]["sources"][1]["weight"] = -1
    del values["engine"]["fx"]
    path = tmp_path / "typo.yaml"
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(ConfigError) as refusal:
        load_config(path)
    for culprit in ("optimiser.learning_rate", "data.sources.1.weight", "engine.fx", str(path)):
        assert culprit in str(refusal.value)


def test_missing_file_and_broken_yaml(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the config"):
        load_config(tmp_path / "none.yaml")
    (tmp_path / "broken.yaml").write_text("engine: [1,")
    with pytest.raises(ConfigError, match="is not YAML"):
        load_config(tmp_path / "broken.yaml")
