"""Whole runs of the command line on a tiny dataset, each in a process of its own that can be waited for or killed."""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import cli
from benchmarks.store.store import Store
from gmsdi import SAMPLE_RATE

CHUNK = SAMPLE_RATE
TRACKS = tuple(f"Track{n:05d}" for n in range(1, 7))
CHUNKS = 4
"""Of one second, in each track."""

LONGEST = 300
"""Seconds that a run may take before it is given up."""

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["benchmarks.cells.tables", "benchmarks.tables.render", "benchmarks.verbs.run"])


@dataclass(frozen=True)
class Suite:
    """The command line and a dataset. Its processes are forked from one that has imported everything (an import takes seconds)."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def start(self, store: Path, *overrides: str) -> multiprocessing.process.BaseProcess:
        """``gmsdi run`` with the system ``systems.Slow``, unless overrides say otherwise, in a process of its own."""
        return self.verb(
            "run",
            store,
            "dataset=msdm_layout",
            f"data={self.folder / 'data'}",
            f"cache={self.folder / 'cache'}",
            f"protocol.chunk={CHUNK}",
            "metrics.si_sdri.window=1.0",
            "metrics.si_sdri.hop=0.5",
            "batch_size=2",
            "system=[]",
            *(overrides or system("slow")),
        )

    def verb(self, name: str, store: Path, *overrides: str) -> multiprocessing.process.BaseProcess:
        """Any verb on a store. What it prints goes where its errors go."""
        arguments = [name, *overrides, f"store={store}"]
        process = FORKS.Process(target=_main, args=(arguments, self.said(store), self.environment))
        process.start()
        return process

    def run(self, store: Path, *overrides: str) -> tuple[int | None, str]:
        """The exit code of ``gmsdi run`` and what it wrote to standard error."""
        return self.wait(store, self.start(store, *overrides))

    def wait(self, store: Path, process: multiprocessing.process.BaseProcess) -> tuple[int | None, str]:
        """The exit code of a verb and what was written about the store until then."""
        process.join(LONGEST)
        if process.is_alive():
            process.kill()
            raise AssertionError(f"did not end in {LONGEST} s: {self.said(store).read_text()}")
        return process.exitcode, self.said(store).read_text()

    def said(self, store: Path) -> Path:
        """The file that holds what the verbs on a store wrote."""
        return self.folder / f"{store.name}.stderr"


def _main(arguments: list[str], said: Path, environment: dict[str, str]) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts in the background ignores it
    os.environ.update(environment)
    with said.open("a") as sys.stderr:
        sys.stdout = sys.stderr
        code = cli.main(arguments)
    sys.exit(code)


def system(name: str, target: str = "systems.Slow", **arguments: object) -> list[str]:
    """The overrides that add a system of the class ``target``."""
    values = {
        "label": name,
        "separator._target_": target,
        **{f"separator.{k}": v for k, v in arguments.items()},
    }
    return [f"+systems.{name}.{key}={value}" for key, value in values.items()]


def results(root: Path) -> tuple[dict[str, dict], dict[str, tuple[str, ...]], dict[str, dict]]:
    """The scores in a store, the hashes of its outputs, and its failures."""
    store = Store(root).refresh()
    return store.scores, {unit: output.files for unit, output in store.outputs.items()}, store.failures


def until(condition: Callable[[], object]) -> None:
    """Wait until ``condition`` holds; fail if it does not within a minute."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "waited for a minute in vain"
        time.sleep(0.005)
