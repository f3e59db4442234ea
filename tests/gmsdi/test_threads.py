"""Work beside torch's own threads."""

import threading

import pytest
import torch

from gmsdi.threads import side_by_side


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [1, 3])
def test_results_come_in_the_order_of_the_items(count: int, threads) -> None:
    threads(count)
    assert side_by_side(lambda n: n * n, range(20)) == [n * n for n in range(20)]


def test_as_many_are_at_work_at_a_time_as_torch_has_threads(threads) -> None:
    threads(3)
    meeting = threading.Barrier(3, timeout=60)
    side_by_side(lambda _: meeting.wait(), range(6))  # none goes on unless three are there


@pytest.mark.parametrize("count", [1, 3])
def test_an_error_reaches_the_caller(count: int, threads) -> None:
    threads(count)
    with pytest.raises(ZeroDivisionError):
        side_by_side(lambda n: 1 // n, [1, 0, 2])
