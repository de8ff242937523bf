"""Help that reads well: options as they are typed, choices, defaults, and nothing of the code's own markup."""

import re

import pytest

from dm_replay.cli.__main__ import COMMANDS, main
from dm_replay.cli.flags import CHOICES
from dm_replay.cli.words import documented
from dm_replay.data.registry import names
from dm_replay.evaluation.recipe import EvalConfig
from dm_replay.matching.config import CondenseConfig
from dm_replay.runtime.settings import flat


@pytest.fixture
def shown(capsys, monkeypatch):
    """``shown(command)`` is its help, on a terminal of 120 columns."""
    monkeypatch.setenv("COLUMNS", "120")

    def run(command):
        with pytest.raises(SystemExit) as stop:
            main([command, "--help"])
        assert stop.value.code == 0
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize("command", COMMANDS)
def test_it_reads_well(shown, command):
    text = shown(command)
    for noise in ("<class '", "type:", "`", ":class:", ":func:", "None", "null", "False", "_PATH"):
        assert noise not in text
    options = re.findall(r"^  (?:-h, )?(--\S+)", text, re.MULTILINE)
    assert len(options) > 2 and not any("_" in option for option in options)
    assert max(map(len, text.splitlines())) <= 100
    assert text.startswith(f"usage: dm-replay {command}") and f"\nexample: dm-replay {command}" in text


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_explained(shown, command):
    entries = re.split(r"\n  (?=-)", shown(command).split("\n\nexample:")[0])[1:]
    for entry in entries:
        words = re.sub(r"\(default: .*\)", "", " ".join(entry.split("\n\n")[0].split()))
        assert len(words.split()) > 3, entry


@pytest.mark.parametrize(
    ("command", "config"), [("condense", CondenseConfig.preset("fast")), ("evaluate", EvalConfig())]
)
def test_it_shows_the_defaults_of_the_api_and_of_the_usual_preset(shown, command, config):
    text = " ".join(shown(command).split())
    for name, default in flat(config).items():
        if default is None or name == "size":
            continue
        expected = f"{default:g}" if isinstance(default, float) else default
        option = f"--{name.replace('_', '-')}"
        assert re.search(rf" {option} \S+ ((?! --[a-z-]+ [A-Z{{]).)*?\(default: {re.escape(str(expected))}\)", text), (
            name
        )


@pytest.mark.parametrize(("command", "config"), [("condense", CondenseConfig), ("evaluate", EvalConfig)])
def test_the_choices_shown_are_those_that_are_taken(shown, command, config):
    text = shown(command)
    for name in CHOICES.keys() & flat(config()):
        assert f"--{name.replace('_', '-')} {{{','.join(CHOICES[name])}}}" in text
        for choice in CHOICES[name]:
            config().but(**{name: choice})
        with pytest.raises(ValueError, match=f"choose from {', '.join(CHOICES[name])}$"):
            config().but(**{name: "?"})


def test_every_dataset_is_named(shown):
    for command in ("condense", "evaluate"):
        text = shown(command)
        assert all(f'"{name}"' in text for name in names())


def test_what_is_missing_is_named(capsys):
    for argv, words in (
        (["condense", "--dataset", "cifar10"], "add --out FOLDER (folder of the run)"),
        (["show", "x.pt"], "add --out FILE (picture (.png) or animation (.gif))"),
        (["evaluate"], "add SET (condensed.pt, a run's folder, or the official code's res_*.pt)"),
        (["export", "x.pt", "--out", "y"], "add --format {imagefolder,npz} ("),
        (["export", "--format", "npz"], "and --out PATH (npz file or new folder)"),
    ):
        assert main(argv) == 2
        said = capsys.readouterr().err.splitlines()
        assert len(said) == 1 and words in said[0]


def test_words_of_docstrings():
    def function(a, b, c, d):
        """Title.

        Args:
            a: of the ``result``; see :func:`other` for more.
            b, c: a :class:`Thing` of
                two lines. Two sentences.
            d: "x", "y", ...

        Returns:
            e: not an argument.
        """

    text = "a Thing of two lines. Two sentences"
    assert documented(function) == {"a": "a of the result", "b": text, "c": text, "d": '"x", "y", ...'}
    assert documented(test_every_dataset_is_named) == {}
