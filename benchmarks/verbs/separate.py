"""separate songs of your own into bass, drums, guitar and piano

OUT/SONG/{bass,drums,guitar,piano}.wav are made with one system:

  gmsdi separate song.flac other.wav system=gmsdi-separator out=OUT

A FILE is anything that libsndfile reads, of any rate, length and number of channels. The systems hear it as mono at 22 050 Hz.
Each stem is mono float32 with the song's own rate and length, so it lies under the song sample by sample, and has nothing above
11 025 Hz. The same file, system and seed=N give the same stems, whatever the batch_size=N, which is the number of chunks of 12 s
that have to fit into memory at once. Without out=OUT the stems go to results/separated.

A word is an override if what is before its first "=" could be a key, and a FILE otherwise: write ./a=b.wav for the file a=b.wav.
A song that cannot be read, or whose folder in OUT exists, is told in a line of its own; the others are separated, and the exit
code is 4.
"""

import re
from argparse import ArgumentParser, Namespace
from pathlib import Path

from omegaconf import DictConfig

from benchmarks.config import require_count
from benchmarks.device import usable
from benchmarks.verbs import takes_overrides, with_config

OVERRIDE = re.compile(r"[+~]*[A-Za-z_][\w.@-]*=")
"""How words begin that are overrides, and not files."""


def add_options(parser: ArgumentParser) -> None:
    takes_overrides(parser, "FILE|OVERRIDE", "a song, or ")


def run(options: Namespace) -> int:
    words = options.overrides
    files = [word for word in words if not OVERRIDE.match(word)]
    options.overrides = ["out=results/separated", *(word for word in words if OVERRIDE.match(word))]
    return with_config(options, lambda config: separate(config, files))


def separate(config: DictConfig, files: list[str]) -> int:
    """Separate a person's own songs, each into a folder of its own in ``out``."""
    from benchmarks.run.songs import Separation, lone_system, songs_of

    songs = songs_of(files, Path(config.out))
    require_count("batch_size", config.batch_size)
    device = usable(config.device)
    Separation(lone_system(config.systems), Path(config.out), config.seed, config.batch_size, device).run(songs)
    return 0
