"""One private Slurm for all tests of a session, and runs on it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cluster import Cluster, install
from slurmruns import MAX_ARRAY, SlurmSuite
from tinyruns import Suite, results, system


@pytest.fixture(scope="session")
def running_cluster() -> Iterator[Cluster]:
    if reason := install():
        pytest.skip(reason)
    cluster = Cluster(max_array=MAX_ARRAY)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def cluster(running_cluster: Cluster) -> Iterator[Cluster]:
    """The cluster, with nothing of another test on it."""
    yield running_cluster
    running_cluster.clear()


@pytest.fixture
def slurm(suite: Suite, cluster: Cluster) -> SlurmSuite:
    return SlurmSuite.on(cluster, suite)


@pytest.fixture(scope="session")
def known() -> dict[tuple[str, ...], Any]:
    """What local runs leave; what is addressed by content is the same in every test."""
    return {}


@pytest.fixture
def local(slurm: SlurmSuite, known: dict[tuple[str, ...], Any]) -> Callable[..., Any]:
    """``local(…)``: what a local run of the system ``Slow``, and of those that overrides add, leaves in its store."""

    def run(*more: str) -> Any:
        if more not in known:
            assert slurm.run(slurm.folder / "local", *system("slow"), *more)[0] == 0
            known[more] = results(slurm.folder / "local")
        return known[more]

    return run
