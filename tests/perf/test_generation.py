"""The bench of generators, with a small network in two steps."""

import re
from pathlib import Path

from omegaconf import OmegaConf

from benchmarks import config
from benchmarks.perf import generation


def test_each_generator_has_a_line_and_what_it_cannot_do_has_no_time(monkeypatch) -> None:
    monkeypatch.chdir(Path(__file__).resolve().parent.parent.parent)
    systems = config.load(
        [
            *("table=subfad", "system=[weak-msdm-generator,no-stems,msdm-generator]"),
            *("generation.msdm.sigmas.steps=2", "generation.weak-msdm.sigmas.steps=2"),
        ]
    ).systems
    missing = OmegaConf.to_container(systems["msdm-generator"], resolve=True)
    missing["label"], missing["generator"]["checkpoint"] = "None", "nowhere.safetensors"
    everything = OmegaConf.create({**OmegaConf.to_container(systems, resolve=True), "x": missing})
    lines = list(generation.measured(everything, 4096, "cpu"))
    assert re.fullmatch(r"Weakly Supervised MSDM, steps=2: -, -, -, \d+\.\d\d s; 2 steps", lines[0])
    assert re.fullmatch(r"MSDM, steps=2: (\d+\.\d\d, ){3}\d+\.\d\d s; 2 steps", lines[1])
    assert lines[2].startswith("None: skipped: nowhere.safetensors") and len(lines) == 3
