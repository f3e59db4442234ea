"""``python -m benchmarks.perf``: everything, or the parts that are named."""

import pytest

from benchmarks.perf import __main__ as bench


@pytest.fixture
def measured(monkeypatch):
    """The names of the parts that were measured."""
    done = []
    for name in bench.PARTS:
        monkeypatch.setitem(bench.PARTS, name, lambda name=name: done.append(name))
    return done


def test_parts_are_measured_as_they_are_named(measured):
    assert bench.main(["gpu", "systems"]) == 0
    assert measured == ["gpu", "systems"]


def test_all_parts_are_measured_unless_told(measured):
    assert bench.main([]) == 0
    assert measured == ["scoring", "table", "planning", "systems", "generation", "networks", "distributions", "gpu"]


def test_an_unknown_part_is_told_before_anything_is_measured(measured, capsys):
    assert bench.main(["gpu", "network"]) == 4
    assert measured == []
    assert capsys.readouterr().err == "error: unknown part 'network'; did you mean networks?\n"
