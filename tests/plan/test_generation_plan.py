"""Units of generation: which excerpts, which stems, and where real ones are borrowed from."""

from collections.abc import Sequence

import pytest
from omegaconf import DictConfig, OmegaConf

from benchmarks.data.manifest import DatasetManifest, Excerpt, Stem, Track
from benchmarks.plan.systems import SystemSpec, resolve_all
from benchmarks.plan.tasks import Task, tasks_of
from benchmarks.plan.units import Plan, Protocol, make_plan
from gmsdi import SAMPLE_RATE, STEMS
from gmsdi.errors import BadInputError

CHUNK = SAMPLE_RATE
SECONDS = 6
PROTOCOL = Protocol("test", CHUNK, 1)
ACCOMPANY = Task(("drums",), ("bass", "guitar", "piano"))
TWO = Task(("guitar", "piano"), ("bass", "drums"))


def track(number: int, rests: dict[str, Sequence[int]] | None = None) -> Track:
    """A track of ``SECONDS``, whose stems rest in some seconds."""
    stems = {
        stem: Stem(f"{number}{stem}", tuple(-120 if s in (rests or {}).get(stem, ()) else -20 for s in range(SECONDS)))
        for stem in STEMS
    }
    return Track(f"Track{number:05d}", SECONDS * SAMPLE_RATE, stems)


def manifest(*tracks: Track) -> DatasetManifest:
    return DatasetManifest("Test", "test", SAMPLE_RATE, tracks or tuple(track(n) for n in range(6)))


def node(target: str, **arguments: object) -> DictConfig:
    return OmegaConf.create({"label": "x", "generator": {"_target_": target, **arguments}})


def systems(*tasks: Task, source: str | None = None) -> list[SystemSpec]:
    if source is None:
        return resolve_all({"silence": node("baselines.real.NoStems")}, tasks)
    return resolve_all({"real": node("baselines.real.Borrowed", source=source)}, tasks)


def plan_of(specs: list[SystemSpec], *tracks: Track, protocol: Protocol = PROTOCOL) -> Plan:
    return make_plan(manifest(*tracks), protocol, specs, 0)


def borrowed(plan: Plan) -> list[tuple[Excerpt, tuple[Excerpt, ...]]]:
    return [(unit.excerpt, unit.elsewhere) for unit in plan.everything().values()]


def test_a_system_is_one_for_each_task() -> None:
    one, other = systems(ACCOMPANY, TWO)
    assert one.id != other.id and (one.row, other.row) == ("silence", "silence")
    assert (one.outputs, other.outputs) == (("drums",), ("guitar", "piano"))
    alone = systems(Task(("drums",), ()))[0]
    assert alone.id != one.id


def test_the_tasks_of_a_table_are_those_of_its_columns() -> None:
    groups = [{"columns": {"D": ["D"], "mean": ["D", "GP"]}}]
    assert tasks_of({"given": "rest", "groups": groups}) == (ACCOMPANY, TWO)
    assert tasks_of({"given": "none", "groups": groups}) == (Task(("drums",), ()), Task(("guitar", "piano"), ()))
    assert tasks_of({"groups": [{"metric": "si_sdri"}]}) == ()
    with pytest.raises(BadInputError, match="'X' of 'DX'"):
        tasks_of({"given": "rest", "groups": [{"columns": {"DX": ["DX"]}}]})
    with pytest.raises(BadInputError, match="write BD for 'DB'"):
        tasks_of({"given": "rest", "groups": [{"columns": {"DB": ["DB"]}}]})


def test_real_stems_come_from_the_song_and_not_from_what_is_run() -> None:
    plan = plan_of(systems(TWO, source="song"))
    taken = {(unit.track, unit.start) for unit, _ in borrowed(plan)}
    for excerpt, elsewhere in borrowed(plan):
        assert {each.track for each in elsewhere} == {excerpt.track}
        assert len(set(elsewhere)) == 1  # one place, so that the stems fit each other
        assert not {(each.track, each.start) for each in elsewhere} & taken


def test_a_place_is_chosen_where_as_much_plays_and_then_the_nearest() -> None:
    everywhere = track(0)
    run = PROTOCOL.excerpts(everywhere)[0].start // SAMPLE_RATE
    (found,) = [elsewhere for _, elsewhere in borrowed(plan_of(systems(ACCOMPANY, source="song"), everywhere))]
    assert abs(found[0].start // SAMPLE_RATE - run) == 1
    resting = track(0, {"drums": [second for second in range(SECONDS) if second not in (run, 0)]})
    (found,) = [elsewhere for _, elsewhere in borrowed(plan_of(systems(ACCOMPANY, source="song"), resting))]
    assert found[0].start == 0


def test_stems_of_wrong_songs_are_each_of_another_song() -> None:
    everything = Task(STEMS, ())
    for excerpt, elsewhere in borrowed(plan_of(systems(everything, source="others"))):
        songs = [each.track for each in elsewhere]
        assert len(set(songs)) == len(STEMS) and excerpt.track not in songs


def test_what_cannot_be_borrowed_is_said() -> None:
    with pytest.raises(BadInputError, match=r"runs all chunks.*chunks_per_track"):
        plan_of(systems(ACCOMPANY, source="song"), protocol=Protocol("all", CHUNK))
    with pytest.raises(BadInputError, match="2 songs are too few for real"):
        plan_of(systems(Task(STEMS, ()), source="others"), track(0), track(1))


def test_a_song_that_has_none_to_lend_is_left_out_of_every_row() -> None:
    short = Track("Track00009", CHUNK, track(9).stems)
    plan = plan_of([*systems(ACCOMPANY), *systems(ACCOMPANY, source="song")], *(track(n) for n in range(3)), short)
    assert [each.name for each in plan.tracks] == ["Track00000", "Track00001", "Track00002"]
    assert len(plan_of(systems(ACCOMPANY), track(0), short).tracks) == 2


def test_a_song_lends_itself_its_own_stems() -> None:
    for excerpt, elsewhere in borrowed(plan_of(systems(TWO, source="itself"), protocol=Protocol("all", CHUNK))):
        assert elsewhere == (excerpt, excerpt)


def test_an_unknown_source_is_bad_input() -> None:
    with pytest.raises(BadInputError, match="source=songs; did you mean song"):
        systems(ACCOMPANY, source="songs")


def test_a_stem_by_itself_is_asked_for_where_it_plays() -> None:
    resting = track(1, {"drums": range(SECONDS)})
    alone = plan_of(systems(Task(("drums",), ())), track(0), resting)
    assert {unit.excerpt.track for unit in alone.everything().values()} == {"Track00000"}
    accompanied = plan_of(systems(ACCOMPANY), track(0), resting)
    assert len(accompanied.everything()) == 2


def test_what_a_system_lacks_is_not_planned() -> None:
    weak = "baselines.msdm.WeakMSDMGenerator"
    specs = systems(ACCOMPANY)
    lacking = SystemSpec("weak D", "Weak", "id", "{}", node(weak), task=ACCOMPANY, row="weak", lacks="no joint model")
    plan = plan_of([*specs, lacking])
    assert {unit.system.row for unit in plan.everything().values()} == {"silence"}


def test_where_stems_are_borrowed_from_is_part_of_the_unit() -> None:
    one = plan_of(systems(ACCOMPANY, source="others"))
    other = plan_of(systems(ACCOMPANY, source="others"), *(track(n) for n in (0, 2, 1, 3, 4, 5)))
    first = {unit.excerpt.track: unit.id for unit in one.everything().values()}
    second = {unit.excerpt.track: unit.id for unit in other.everything().values()}
    assert first["Track00000"] != second["Track00000"] and first["Track00003"] == second["Track00003"]
