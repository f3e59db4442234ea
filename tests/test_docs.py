"""README.md and docs/: commands are run or at least understood, links lead somewhere, and nothing that a user meets is left out."""

import csv
import functools
import os
import re
import runpy
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from benchmarks import cli
from gmsdi import STEMS, audio, errors, schedule, song

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs").glob("*.md"))
OWN = ROOT / "docs" / "your-own.md"

BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)

ELSEWHERE = ("train", "import-checkpoint")
"""Verbs that the README is only understood to speak of: other tests train, and read such files, as others run on Slurm."""

SLAKH = "/data/slakh2100_flac_redux"
TINY = ["dataset.songs.test=3", "protocol.chunk=16384", "metrics.si_sdri.window=0.5", "metrics.si_sdri.hop=0.25"]
"""Three songs, of each 0.7 s in the middle."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page; those with a title are files."""

    language: str
    title: str
    text: str


def blocks(page: Path) -> list[Block]:
    return [Block(*match.groups(default="")) for match in BLOCK.finditer(page.read_text())]


def commands(page: Path) -> list[list[str]]:
    """The words of every command in a page's blocks of shell, without assignments in front."""
    lines = [
        line for block in blocks(page) if block.language == "sh" for line in block.text.replace("\\\n", " ").split("\n")
    ]
    found = [shlex.split(part, comments=True) for line in lines for part in line.split(" && ")]
    return [words[1:] if "=" in words[0] else words for words in found if words]


def arguments(words: list[str]) -> list[str] | None:
    """What a command gives to gmsdi, whoever starts it; None for a command that is not gmsdi."""
    for k, word in enumerate(words):
        if word in (".venv/bin/gmsdi", "benchmarks.cli"):
            return words[k + 1 :]
    return None


def made(words: list[str]) -> list[list[str]]:
    """What ``make`` with these words would give to gmsdi; fails for a target that is not there.

    Without the environment, in which a ``make`` that runs these tests leaves what it was given, such as ARGS.
    """
    bare = {"PATH": os.environ["PATH"]}
    done = subprocess.run(
        ["make", "--dry-run", *words[1:]], cwd=ROOT, env=bare, capture_output=True, text=True, check=True
    )
    lines = [shlex.split(line) for line in done.stdout.splitlines() if line.startswith(".venv/bin/gmsdi")]
    return [line[1:] for line in lines]


def understood(words: list[str]) -> bool:
    """Whether gmsdi knows the verb, every key and every option, without doing anything.

    What a page writes to ``configs/`` of a checkout lies in a folder of that name here.
    """
    verb = words[0]
    if "--help" in words:
        with pytest.raises(SystemExit) as ended:
            cli.main(words)
        return ended.value.code == 0
    if verb == "import-checkpoint":
        cli.main(words)  # its file is not there, which is told only when all words are understood
        return True
    if verb == "resume":
        words = [*words, "launcher=slurm"]  # which it takes for granted
    if verb == "tune":
        words = [re.sub(r"^([\w.-]+=[^,\[{]+),.*", r"\1", word) for word in words]  # one value of each
    beside = ["--config-dir", "configs"] if Path("configs").is_dir() and "--config-dir" not in words else []
    return cli.main([*words, *beside, "--cfg", "job"]) == 0


def written(folder: Path, page: Path) -> None:
    """Write the files of a page."""
    for block in blocks(page):
        if block.title:
            (folder / block.title).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.title).write_text(block.text)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with what the pages speak of: data, estimates, a song, a checkpoint. Samplers take one step there."""
    home = tmp_path_factory.mktemp("home")
    (home / "results").mkdir()
    (home / "results" / "reference").symlink_to(ROOT / "results" / "reference")
    karras = schedule.karras
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more have nothing to share in chunks as short
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            schedule, "karras", functools.wraps(karras)(lambda steps, *levels, **more: karras(1, *levels, **more))
        )
        patch.setattr(song, "CHUNK", 65_536)
        patch.chdir(home)
        patch.syspath_prepend(home)
        assert cli.main(["data", "prepare", *TINY[:1]]) == 0
        prepared = next(home.glob("data/minislakh/*/test"))
        for folder in ("DIR", "DIR_A", "DIR_B", "DATA/test"):
            for track in prepared.iterdir():
                for stem in STEMS:
                    _copy(track / f"{stem}.wav", home / folder / track.name / f"{stem}.wav")
        noise = np.random.default_rng(0).normal(0, 0.05, (2, 88_200)).astype(np.float32)
        audio.write(home / "song.flac", noise, 44_100, "PCM_16")
        for suffix in ("safetensors", "json"):
            shutil.copy(ROOT / f"results/reference/checkpoints/gmsdi-mini.{suffix}", home / f"my.{suffix}")
        yield home
    torch.set_num_threads(threads)


def _copy(source: Path, target: Path) -> None:
    """A stem, or silence of its length where the song has none."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.exists():
        shutil.copy(source, target)
    else:
        samples, rate = audio.read(next(source.parent.glob("*.wav")))
        audio.write(target, np.zeros_like(samples), rate)


def tiny(words: list[str], home: Path) -> list[str]:
    """A command of the pages on the smallest scale that is still the command."""
    raw = next(home.glob("data/minislakh/*/raw"))
    words = [word.replace(SLAKH, str(raw)) for word in words]
    songs, chunk, *windows = TINY
    others = any(word.startswith("dataset=") and word != "dataset=minislakh" for word in words)
    few = ["protocol.chunks_per_track=1"] if others else [songs]
    if words[0] == "separate":
        return words
    if words[0] == "data":
        return words if others else [*words, songs]
    if "table=subfad" in words:
        systems = [] if any(word.startswith("system=") for word in words) else ["system=[own-stems,real-stems]"]
        return [*words, songs, "protocol.chunk=66150", "protocol.chunks_per_track=2", *systems]
    if "table=correlation" in words:
        return [*words, songs, chunk]
    return [*words, *few, chunk, *windows]


def run(words: list[str], home: Path) -> None:
    """Carry out a command of gmsdi, small; it has to end well."""
    few = tiny(words, home)
    allowed = {0, 4} if words[0] == "doctor" else {0}  # what is missing on this machine, it says with 4
    assert cli.main(few) in allowed, shlex.join(few)


def test_the_commands_of_the_readme_run_one_after_the_other(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    for words in commands(README):
        for given in made(words) if words[0] == "make" else [arguments(words)]:
            assert given, f"{shlex.join(words)}: neither make nor gmsdi"
            if given[0] in ELSEWHERE or any("slurm" in word for word in given):
                assert understood(given), shlex.join(given)
            else:
                run(given, home)
        if words == ["make", "table-separation"]:
            table = (home / "results" / "separation.md").read_text()
            assert all(label in table for label in labels_of_the_readme())
    assert (home / "stems" / "song" / "piano.wav").is_file()


def test_the_page_of_your_own_runs_as_it_stands(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    written(home, OWN)
    shutil.rmtree(home / "stems", ignore_errors=True)
    for words in commands(OWN):
        given = arguments(words)
        if given is None:
            assert words[0] == ".venv/bin/python", shlex.join(words)
            runpy.run_path(words[1])
        else:
            run(given, home)


def test_the_page_of_notebooks_runs_as_it_stands(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    for verb in ("run", "table"):
        run([verb, "system=[mixture,demucs,msdm-dirac]"], home)
    page = "".join(block.text for block in blocks(ROOT / "docs/frames.md") if block.language == "python")
    exec(compile(page, "frames.md", "exec"), {})


@pytest.mark.parametrize("page", [page for page in PAGES if page != OWN], ids=lambda page: page.name)
def test_every_command_of_a_page_is_understood(page: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    written(home, page)
    for words in commands(page):
        given = arguments(words)
        if words[0] == "make":
            if words[1] != ".venv/.ready":
                made(words)
        elif given is not None:
            assert understood(given), shlex.join(words)
        elif ".venv/bin/python" in words:
            assert script(words[words.index(".venv/bin/python") + 1 :]).is_file(), shlex.join(words)
        else:
            assert words[0] in ("git", "cd"), f"{page.name}: {shlex.join(words)}: nothing checks it"


def script(words: list[str]) -> Path:
    """The file that ``python`` with these words runs."""
    if words[0] != "-m":
        return ROOT / words[0]
    module = ROOT / words[1].replace(".", "/")
    return module / "__main__.py" if module.is_dir() else module.with_suffix(".py")


@pytest.mark.parametrize("page", [README, ROOT / "CONTRIBUTING.md", *PAGES], ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    text = BLOCK.sub("", page.read_text())
    for link in LINK.findall(text):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_file(), f"{page.name}: {link}"
        assert ROOT in target.parents, f"{page.name}: {link} leaves the repository"
        assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, by GitHub's rule, which is mkdocs', too."""
    headings = HEADING.findall(BLOCK.sub("", page.read_text()))
    return {re.sub(r"[^\w\s-]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def test_the_site_has_every_page() -> None:
    def leaves(node: object) -> Iterator[str]:
        if isinstance(node, str):
            yield node
        else:
            for each in node.values() if isinstance(node, dict) else node:  # type: ignore[attr-defined]
                yield from leaves(each)

    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    assert sorted(leaves(site["nav"])) == [page.name for page in PAGES]


def test_every_verb_is_documented(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    known = set(re.findall(r"^    ([a-z][a-z-]*)(?: |$)", capsys.readouterr().out, re.MULTILINE))
    headings = re.findall(r"^## (.+)$", (ROOT / "docs/verbs.md").read_text(), re.MULTILINE)
    assert {verb for heading in headings for verb in heading.split(", ")} - {"Exit codes", "make"} == known


def test_every_exit_code_is_documented() -> None:
    raised = {
        each.exit_code for each in vars(errors).values() if isinstance(each, type) and issubclass(each, Exception)
    }
    documented = re.findall(r"^\| (\d+) \|", (ROOT / "docs/verbs.md").read_text(), re.MULTILINE)
    assert sorted(map(int, documented)) == sorted(
        {0, 1, *raised, cli.DEFECT, cli.INTERRUPTED}
    )  # 1: a verdict, no error


def test_every_key_of_a_run_is_documented(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "--cfg", "job"]) == 0
    keys = set(yaml.safe_load(capsys.readouterr().out)) - {"usual", "systems", "metrics"}  # made of others
    named = set(re.findall(r"`(\w+)`", (ROOT / "docs/verbs.md").read_text()))
    assert keys <= named


def test_every_target_of_the_makefile_is_documented() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert targets
    assert set(targets[1].split()) == set(re.findall(r"`make ([\w-]+)`", (ROOT / "docs/verbs.md").read_text()))


def test_the_readme_is_short() -> None:
    lines = README.read_text().splitlines()
    assert len(lines) <= 150
    assert max(map(len, lines)) <= 136


def labels_of_the_readme() -> dict[str, list[str]]:
    """The rows of README's table: the numbers of each, by its label."""
    table = README.read_text().split("<!-- table -->")[1].split("<!-- /table -->")[0]
    with (ROOT / "results/reference/separation/separation.csv").open() as file:
        known = sorted({row["label"] for row in csv.DictReader(file) if row["kind"] == "measured"}, key=len)
    rows = {}
    for line in table.splitlines():
        if label := next((label for label in reversed(known) if line.startswith(label)), None):
            rows[label] = re.findall(r"[−-]?\d+\.\d\d", line.replace(label, ""))
    return rows


def test_the_numbers_of_the_readme_are_those_of_our_own_run() -> None:
    with (ROOT / "results/reference/separation/separation.csv").open() as file:
        measured = [row for row in csv.DictReader(file) if row["kind"] == "measured"]
    shown = labels_of_the_readme()
    assert len(shown) > 10
    for label, numbers in shown.items():
        values = [f"{float(row['value']) + 0.0:.2f}".replace("-", "−") for row in measured if row["label"] == label]
        places = range(len(values) - len(numbers) + 1)
        assert any(values[place : place + len(numbers)] == numbers for place in places), label
