"""The journal: what is appended is read back, in order, whoever else is appending or compacting."""

import multiprocessing
from itertools import pairwise

import pytest

from benchmarks.store import journal as journal_module
from benchmarks.store.journal import Journal
from gmsdi.errors import IntegrityError


def values(journal):
    """What the keys mean: the last of equal ones holds."""
    return {record["key"]: record["value"] for record in journal.refresh()}


def append_many(folder, writer, count):
    for n in range(count):
        Journal(folder).append([{"key": f"{writer}-{n}", "value": n}])


def test_records_come_in_the_order_in_which_they_were_appended(tmp_path):
    for n in range(20):
        Journal(tmp_path).append([{"n": 2 * n}, {"n": 2 * n + 1}])
    assert [record["n"] for record in Journal(tmp_path).refresh()] == list(range(40))


def test_a_refresh_gives_only_what_is_new(tmp_path):
    journal, other = Journal(tmp_path), Journal(tmp_path)
    journal.append([{"n": 0}])
    assert list(journal.refresh()) == [{"n": 0}]
    other.append([{"n": 1}])
    assert list(journal.refresh()) == [{"n": 1}]
    assert list(journal.refresh()) == []


def test_nothing_appended_is_no_segment(tmp_path):
    Journal(tmp_path).append([])
    assert list(tmp_path.iterdir()) == []


def test_any_text_comes_back_as_it_was(tmp_path):
    record = {"track": "line\u2028separator, next\x85line, ünïcode, \n"}
    Journal(tmp_path).append([record])
    assert list(Journal(tmp_path).refresh()) == [record]


def test_two_processes_that_append_at_once_lose_nothing(tmp_path):
    fork = multiprocessing.get_context("fork")
    writers = [fork.Process(target=append_many, args=(tmp_path, writer, 50)) for writer in range(2)]
    reader = Journal(tmp_path)
    seen = {}
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        seen |= values(reader)
        reader.compact()
    seen |= values(reader)
    assert seen == values(Journal(tmp_path)) == {f"{writer}-{n}": n for writer in range(2) for n in range(50)}


def test_compaction_leaves_one_segment_and_the_order(tmp_path):
    journal = Journal(tmp_path)
    for n in range(5):
        journal.append([{"key": "same", "value": n}, {"key": n, "value": n}])
    journal.compact()
    assert len(list(tmp_path.iterdir())) == 1
    assert [record["value"] for record in Journal(tmp_path).refresh()] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_large_segments_are_left_alone_and_nothing_is_there_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(journal_module, "LARGE", 100)
    journal = Journal(tmp_path)
    for n in range(100):
        journal.append([{"key": n % 40, "value": n % 40}])  # some equal ones
        if n % 7 == 0:
            journal.compact()
    journal.compact()
    segments = sorted(tmp_path.iterdir())
    assert all(segment.stat().st_size <= 100 for segment in segments)
    assert all(a.stat().st_size + b.stat().st_size > 100 for a, b in pairwise(segments))
    assert values(Journal(tmp_path)) == {n: n for n in range(40)}


def test_what_two_compactions_merged_at_once_is_there_once_after_the_next(tmp_path, monkeypatch):
    journal = Journal(tmp_path)
    for n in range(3):
        journal.append([{"key": n, "value": n}])
    segments = {path: path.read_bytes() for path in tmp_path.iterdir()}
    journal.compact()
    for path, content in segments.items():
        path.write_bytes(content)  # as the other sees it
    Journal(tmp_path).compact()
    assert [record["value"] for record in Journal(tmp_path).refresh()] == [0, 1, 2]


def test_a_reader_that_listed_before_a_compaction_loses_nothing(tmp_path):
    for n in range(3):
        Journal(tmp_path).append([{"n": n}])
    reading = Journal(tmp_path).refresh()
    first = next(reading)  # now the reader has a list of three segments
    Journal(tmp_path).compact()
    assert {record["n"] for record in [first, *reading]} == {0, 1, 2}


def test_the_last_of_equal_keys_holds_for_a_reader_that_is_ahead_of_a_compaction(tmp_path, monkeypatch):
    journal = Journal(tmp_path)
    journal.append([{"key": "same", "value": "old"}])
    journal.append([{"key": "other", "value": 0}])
    compacting = Journal(tmp_path)
    listed = compacting._segments()
    journal.append([{"key": "same", "value": "new"}])
    seen = values(journal)
    monkeypatch.setattr(compacting, "_segments", lambda: listed)  # it listed the folder before the last record came
    compacting.compact()
    assert seen | values(journal) == values(Journal(tmp_path)) == {"same": "new", "other": 0}


def test_a_compaction_that_another_is_ahead_of_leaves_the_order(tmp_path, monkeypatch):
    for n in range(3):
        Journal(tmp_path).append([{"key": "same", "value": n}])
    late = Journal(tmp_path)
    first, *rest = late._segments()
    for segment in rest:
        (tmp_path / segment).unlink()  # as the other does, once what it merged is in place
    monkeypatch.setattr(late, "_segments", lambda: [first, *rest])
    late.compact()
    assert list(tmp_path.iterdir()) == [tmp_path / first]


def test_leftovers_of_a_killed_writer_are_ignored(tmp_path):
    Journal(tmp_path).append([{"n": 0}])
    (tmp_path / ".00000000000000000001-abc.jsonl.0123.tmp").write_text('{"n": 1')
    (tmp_path / ".hidden.jsonl").write_text('{"n": 2}\n')
    assert list(Journal(tmp_path).refresh()) == [{"n": 0}]


@pytest.mark.parametrize(
    "damage",
    [b"", b'{"n": 0', b'{"n"; 0}\n', b'{"n": 0}\n{"n":', b"[0]\n", b"\0" * 9, b'{"n": "\xff"}\n', b"0\n"],
)
def test_a_damaged_segment_is_named(tmp_path, damage):
    Journal(tmp_path).append([{"n": 0}])
    (segment,) = tmp_path.iterdir()
    segment.write_bytes(damage)
    with pytest.raises(IntegrityError, match=segment.name):
        list(Journal(tmp_path).refresh())


def edit(lines):
    return [lines[0].replace('"n":0', '"n":9'), *lines[1:]]


@pytest.mark.parametrize(
    ("tamper", "said"),
    [
        (edit, "line 1 is not what was written"),
        (lambda lines: [lines[0].replace('"n":0', '"n": 0'), *lines[1:]], "line 1 is not what was written"),
        (lambda lines: [*lines[:2], lines[2].replace('"sum":"', '"sum":"f')[:-3] + '"}', *lines[3:]], "line 3 is not"),
        (lambda lines: [lines[1], lines[0], *lines[2:]], "lines are missing or in another order"),
        (lambda lines: [*lines[:1], *lines[2:]], "lines are missing or in another order"),
        (lambda lines: [lines[0], *lines], "lines are missing or in another order"),
        (lambda lines: lines[:-1], "lines are missing or in another order"),
        (lambda lines: [*lines, lines[-1]], "line 4 is not what was written"),
    ],
)
def test_what_was_edited_moved_or_taken_out_is_found(tmp_path, tamper, said):
    Journal(tmp_path).append([{"n": n} for n in range(3)])
    (segment,) = tmp_path.iterdir()
    segment.write_text("\n".join(tamper(segment.read_text().splitlines())) + "\n")
    for use in (
        lambda: list(Journal(tmp_path).refresh()),
        lambda: (Journal(tmp_path).append([{"n": 5}]), Journal(tmp_path).compact()),
    ):
        with pytest.raises(IntegrityError, match=f"{segment.name}: damaged, {said}.*; remove the file"):
            use()
