"""The guides for readers: what they point to is there, what they show runs, and each of our words is told once."""

import re
from pathlib import Path

import pytest
from streams import labelled, strategy

import dm_replay
from dm_replay.cli.__main__ import COMMANDS, main

HOME = Path(dm_replay.__file__).parents[1]
DOCS = sorted(f"docs/{page.name}" for page in HOME.glob("docs/*.md"))
GUIDES = ["README.md", "CONTRIBUTING.md", "benchmarks/README.md", *DOCS]
STEPS = ["drawn", "augmented", "embedded", "compared", "updated", "stored", "replayed"]
ROW = re.compile(r"^\| (\w+) \| \[[^]]+\]\(\.\./(dm_replay/[^)]+)\) \| (.*) \|$", re.MULTILINE)
BLOCK = re.compile(r"^```(python|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUN = "docs/quickstart.md"  # the page whose commands are run, too


def text_of(guide):
    return (HOME / guide).read_text()


def blocks_of(guide, language):
    return [code for kind, code in BLOCK.findall(text_of(guide)) if kind == language]


def commands_of(guide):
    lines = "\n".join(blocks_of(guide, "console")).splitlines()
    return [line.split()[1:] for line in lines if re.match(r"dm-replay [a-z]", line)]


@pytest.mark.parametrize("guide", GUIDES)
def test_links_and_paths_lead_somewhere(guide):
    text = text_of(guide)
    paths = re.findall(r"\]\(((?!https?:)[^)#]+)[^)]*\)", text) + re.findall(r"`((?:tests|examples)/[\w/.]+)`", text)
    folder = (HOME / guide).parent
    assert [path for path in paths if not ((folder / path).exists() or (HOME / path).exists())] == []
    for page, anchor in re.findall(r"\]\(([\w/.]+\.md)#([\w-]+)\)", text):
        titles = re.findall(r"^#+ (.*)$", (folder / page).read_text(), re.MULTILINE)
        assert anchor in [re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles]


@pytest.mark.parametrize("guide", [guide for guide in GUIDES if blocks_of(guide, "python")])
def test_its_code_runs(guide, tmp_path, monkeypatch, capsys):
    """From top to bottom in one session of a reader who has a model, an optimizer and a benchmark.

    It prints what stands in the comments behind ``print``.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(HOME / "examples")
    usual = strategy()
    session = {"model": usual.model, "optimizer": usual.optimizer, "benchmark": labelled()}
    for code in blocks_of(guide, "python"):
        exec(compile(code, guide, "exec"), session)
        expected = re.findall(r"^print\(.*\)  # (.*)$", code, re.MULTILINE)
        assert [line for line in capsys.readouterr().out.splitlines() if line in expected] == expected


@pytest.mark.parametrize("guide", [guide for guide in GUIDES if commands_of(guide)])
def test_its_commands_have_these_options(guide, capsys):
    helps = {}
    for command, *words in commands_of(guide):
        if command not in helps:
            with pytest.raises(SystemExit):
                main([command, "--help"])
            helps[command] = capsys.readouterr().out
        unknown = [word for word in words if word.startswith("--") and not re.search(rf"{word}\b(?!-)", helps[command])]
        assert command in COMMANDS and unknown == []


def test_the_commands_of_the_quickstart_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = [main(words) for words in commands_of(RUN) if words[0] != "demo"]
    assert done and set(done) == {0} and Path("digits.png").is_file()


def test_the_way_of_an_image_is_where_the_design_says():
    rows = ROW.findall(text_of("docs/design.md"))
    assert [step for step, _, _ in rows] == STEPS
    for _, path, words in rows:
        paths = [path, *re.findall(r"\]\(\.\./(dm_replay/[^)]+)\)", words)]
        code = "\n".join((HOME / one).read_text() for one in paths)
        names = [part for name in re.findall(r"`([\w.]+)`", words) for part in name.split(".")]
        assert names
        for name in names:
            assert re.search(rf"(def|class) {name}\b|self\.{name} =", code), f"{paths} have no {name}"


def packages():
    return sorted(path.parent.name for path in HOME.glob("dm_replay/*/__init__.py"))


def test_the_packages_of_the_design_are_those_of_the_code():
    assert sorted(re.findall(r"^\| \d? ?\| `(\w+)` \|", text_of("docs/design.md"), re.MULTILINE)) == packages()


def test_every_public_name_is_in_the_api():
    homes = {getattr(dm_replay, name).__module__.split(".")[1] for name in dm_replay.__all__}
    assert set(re.findall(r"^```{generated} api (\w+)$", text_of("docs/api.md"), re.MULTILINE)) == homes


def test_each_word_is_told_once():
    glossary = text_of("docs/concepts.md").split("\n## Glossary\n")[1]
    words = re.findall(r"^\| ([\w ]+) \| \S", glossary, re.MULTILINE)[1:]
    assert len(words) > 15 and words == sorted(set(words), key=str.lower)


def test_every_page_is_in_the_contents():
    listed = re.findall(r"^(\w+)$", text_of("docs/index.md"), re.MULTILINE)
    assert sorted([*listed, "index"]) == [Path(page).stem for page in DOCS]


@pytest.mark.parametrize(("guide", "lines"), [("README.md", 150), ("CONTRIBUTING.md", 60)])
def test_it_is_short(guide, lines):
    assert len(text_of(guide).splitlines()) <= lines
