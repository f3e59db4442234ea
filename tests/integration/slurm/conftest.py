"""One private Slurm for all tests of a session, and runs on it."""

from collections.abc import Iterator

import pytest
from cluster import Cluster, install
from slurmruns import SlurmSuite
from tinyruns import Suite

MAX_ARRAY = 2
"""The site's limit: less than the shards of most runs, so that arrays are split all the time."""


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
