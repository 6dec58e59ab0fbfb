"""The help of the subcommands for recordings teaches by example."""

from __future__ import annotations

import pytest

from hybridnet_ros import cli


@pytest.mark.parametrize("command", ["compare", "evaluate-bag", "view"])
def test_help_has_examples_that_the_command_understands(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main([command, "--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    examples = [line for line in text.split("examples:")[1].splitlines() if line.startswith("  hybridnet ")]
    assert len(examples) >= 2
    options = text.split("examples:")[0]
    for line in examples:
        words = line.split("   ")[0 if not line.startswith("   ") else 1].split()
        assert words[:2] == ["hybridnet", command]
        for word in words:
            if word.startswith("--"):
                assert word in options, line


def test_the_overview_has_an_example_of_each_kind(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    text = capsys.readouterr().out
    examples = [line.split() for line in text.split("examples:")[1].splitlines() if line.startswith("  hybridnet ")]
    assert {words[1] for words in examples} <= set(cli.COMMANDS)
    assert {"evaluate-bag", "compare", "view", "demo", "info"} <= {words[1] for words in examples}
    for words in examples:
        with pytest.raises(SystemExit):
            cli.main([words[1], "--help"])
        options = capsys.readouterr().out
        assert all(word in options for word in words if word.startswith("--")), words


def test_the_overview_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    text = capsys.readouterr().out
    for name, (_, purpose) in cli.COMMANDS.items():
        assert name in text
        assert purpose.split(",")[0].split(":")[0][:20] in " ".join(text.split())
