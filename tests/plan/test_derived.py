"""Systems that are made of others' outputs: what they are, what they cost, and that nothing is computed twice."""

import json
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from omegaconf import OmegaConf

from benchmarks import cli, sources
from benchmarks.data.msdm_layout import MsdmLayout
from benchmarks.metrics.si_sdr import SiSDR
from benchmarks.plan.systems import resolve_all
from benchmarks.plan.units import Protocol, make_plan
from benchmarks.run.job import Job
from benchmarks.run.launch import Local
from benchmarks.run.todo import to_do
from benchmarks.store.provenance import provenance
from benchmarks.store.store import open_store
from gmsdi import SAMPLE_RATE, STEMS, audio
from gmsdi.errors import BadInputError
from gmsdi.system import Batch, Derived, Separator

CHUNK = SAMPLE_RATE // 2
TRACKS = ("Track0", "Track1")
CHUNKS = 2
UNITS = len(TRACKS) * CHUNKS


class Noisy(Separator):
    """Random gains of the mixture, by the item's own seed. ``variant`` makes another system of it; the rest is no part of what it is.

    A line of ``log`` is written for each item; seeds in the file ``fault`` fail, as bad input if it says so; the track ``lacks`` is not
    covered.
    """

    reads_places = True

    def __init__(self, variant: int = 0, log: str = "", fault: str = "", lacks: str = "") -> None:
        self.variant = variant
        self.log = Path(log)
        self.fault = Path(fault)
        self.lacks = lacks

    @classmethod
    def identify(cls, **arguments):
        return {"variant": arguments["variant"]}

    def covers(self, track: str) -> bool:
        return track != self.lacks

    def separate(self, batch: Batch) -> torch.Tensor:
        with self.log.open("a") as log:
            log.writelines(f"{self.variant} {seed}\n" for seed in batch.seeds)
        fault = self.fault.read_text().split() if self.fault.is_file() else []
        if set(fault) & set(map(str, batch.seeds)):
            raise (BadInputError if "input" in fault else RuntimeError)("out of\nluck")
        gains = torch.stack([gains_of(seed, self.variant) for seed in batch.seeds])
        return gains * batch.mixtures[:, None]


def gains_of(seed, variant=0):
    """The gains ``[K, 1]`` that ``Noisy`` gives the stems."""
    return torch.rand(len(STEMS), 1, generator=torch.Generator().manual_seed(seed ^ variant))


class Spoilt(Derived):
    """A combination that gives what cannot be scored."""

    def __init__(self, of: str, how: str) -> None:
        self.of, self.how = of, how

    @property
    def inputs(self):
        return ((self.of, 0),)

    def combine(self, outputs):
        return {"nan": outputs[0] * torch.nan, "three": outputs[0, :3], "all": outputs}[self.how]


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log"
    path.touch()
    return path


@pytest.fixture
def fault(tmp_path):
    return tmp_path / "fault"


@pytest.fixture
def songs(tmp_path, noise, write_track):
    """The folder of two tracks of two chunks."""
    for t, track in enumerate(TRACKS):
        stems = {stem: noise(10 * t + k, CHUNKS * CHUNK) for k, stem in enumerate(STEMS)}
        write_track(tmp_path / "data" / "test" / track, stems)
    return tmp_path / "data"


@pytest.fixture
def job(tmp_path, songs, log, fault):
    """``job(NAME=NODE, …)``: these systems on both tracks, with a fresh view of one store unless told."""
    dataset = MsdmLayout("tiny", songs, tmp_path / "cache").split("test")

    def make(*, store=tmp_path / "store", batch_size=3, keep_audio="float32", hop=0.25, **nodes):
        for node in nodes.values():
            if node["_target_"] == "test_derived.Noisy":
                node.update(log=str(log), fault=str(fault))
        plan = make_plan(dataset.manifest, Protocol("tiny", CHUNK), specs(**nodes), 0)
        metrics = (SiSDR(window=0.5, hop=hop),)
        return Job(plan, dataset, metrics, open_store(store), batch_size, keep_audio, "cpu", "run")

    return make


@pytest.fixture
def choose(tmp_path):
    """``choose(…)``: a file that chooses a system for each stem; one for all, or four."""

    def write(*names):
        chosen = dict(zip(STEMS, names * (len(STEMS) // len(names)), strict=True))
        path = tmp_path / f"{'-'.join(names)}.yaml"
        path.write_text(yaml.safe_dump({"choice": chosen}))
        return str(path)

    return write


def noisy(**arguments):
    return {"_target_": "test_derived.Noisy", **arguments}


def mean(of="noisy", samples=3):
    return {"_target_": "gmsdi.ensemble.Mean", "of": of, "samples": samples}


def ensemble(choice, *members):
    return {"_target_": "gmsdi.ensemble.Ensemble", "members": list(members), "choice": choice}


def specs(**nodes):
    made = {name: OmegaConf.create({"label": name, "separator": node}) for name, node in nodes.items()}
    ensembles = {name: node for name, node in nodes.items() if node["_target_"].endswith("Ensemble")}
    for node in ensembles.values():
        if Path(node["choice"]).is_file():
            record(Path(node["choice"]), {name: made[name] for name in made.keys() - ensembles.keys()})
    return resolve_all(made)


def record(choice, members):
    """Note in the file of a choice, unless it says so already, which systems it was made among, as `gmsdi tune` does."""
    with suppress(yaml.YAMLError, TypeError):
        content = yaml.safe_load(choice.read_text())
        if "choice" in content and "rows" not in content:
            content["rows"] = [{"row": spec.name, "system": spec.id} for spec in resolve_all(members)]
            choice.write_text(yaml.safe_dump(content))


def spec_of(job, name):
    return next(system for system in job.plan.systems if system.name == name)


def units_of(job, name):
    return list(job.plan.of_system(spec_of(job, name)))


def computed(log):
    """How often each variant was asked for each seed."""
    return Counter(log.read_text().splitlines())


def audio_of(root):
    """The ids of the units whose audio is in a store."""
    return {path.name for path in root.glob("audio/??/*")}


def stems_of(job, unit):
    """The output ``[K, T]`` of a unit."""
    return job.store.refresh().read_output(unit)


def mixture_of(job, unit):
    """The mixture ``[T]`` that a unit is of."""
    tracks = {track.name: track for track in job.dataset.manifest.tracks}
    stems = job.dataset.stems(tracks[unit.excerpt.track])
    return audio.mixture(stems)[unit.excerpt.start : unit.excerpt.start + unit.excerpt.length]


# What they output


def test_a_mean_is_the_mean_of_samples_of_other_seeds(job):
    made = job(noisy=noisy(), mean=mean())
    assert Local().run(made) == {}
    for unit in units_of(made, "mean"):
        gains = torch.stack([gains_of(each.seed) for each in unit.inputs]).double().mean(dim=0)  # [K, 1]
        assert len({each.seed for each in unit.inputs}) == 3
        np.testing.assert_allclose(stems_of(made, unit), gains.numpy() * mixture_of(made, unit), rtol=3e-7)


def test_a_mean_of_one_sample_is_that_sample(job):
    made = job(noisy=noisy(), mean=mean(samples=1))
    Local().run(made)
    for unit, own in zip(units_of(made, "mean"), units_of(made, "noisy"), strict=True):
        np.testing.assert_array_equal(stems_of(made, unit), stems_of(made, own))


def test_an_ensemble_takes_each_stem_from_the_system_that_is_chosen_for_it(job, choose):
    chosen = ("b", "a", "b", "c")
    systems = {name: noisy(variant=n) for n, name in enumerate("abc")}
    made = job(**systems, ensemble=ensemble(choose(*chosen), "a", "b", "c"))
    Local().run(made)
    for i, unit in enumerate(units_of(made, "ensemble")):
        expected = [stems_of(made, units_of(made, name)[i])[k] for k, name in enumerate(chosen)]
        np.testing.assert_array_equal(stems_of(made, unit), expected)


def test_an_ensemble_of_means_is_one_of_what_those_are_made_of(job, choose, log):
    made = job(
        both=ensemble(choose("ma", "mb"), "ma", "mb"),
        ma=mean("a", 2),
        mb=mean("b", 2),
        a=noisy(variant=0),
        b=noisy(variant=1),
    )
    assert Local().run(made) == {}
    assert sorted(computed(log).values()) == [1] * 2 * 2 * UNITS
    for unit, a, b in zip(*(units_of(made, name) for name in ("both", "ma", "mb")), strict=True):
        np.testing.assert_array_equal(stems_of(made, unit)[::2], stems_of(made, a)[::2])
        np.testing.assert_array_equal(stems_of(made, unit)[1::2], stems_of(made, b)[1::2])


def test_the_bytes_depend_neither_on_the_batch_size_nor_on_what_was_there_before(job, tmp_path):
    """In the second store the input's own row is made first; in the third the mean is asked for alone on a part of the tracks."""
    nodes = {"noisy": noisy(), "mean": mean()}
    found = []
    for batch_size, first in [(1, nodes), (3, {"noisy": noisy()}), (8, {"noisy": noisy(), "two": mean(samples=2)})]:
        store = tmp_path / f"store{batch_size}"
        Local().run(job(store=store, batch_size=batch_size, **first))
        made = job(store=store, batch_size=batch_size, **nodes)
        assert Local().run(made) == {}
        ids = {unit.id for name in nodes for unit in units_of(made, name)}
        found.append({unit: made.store.outputs[unit].files for unit in ids})
    assert found[0] == found[1] == found[2]


# What is computed


def test_nothing_is_sampled_twice_and_replicate_0_is_the_row_of_the_input(job, log):
    made = job(mean=mean(), noisy=noisy(), two=mean(samples=2))
    assert Local().run(made) == {}
    assert sorted(computed(log).values()) == [1] * 3 * UNITS
    assert [unit.inputs[0] for unit in units_of(made, "mean")] == units_of(made, "noisy")
    assert len(made.store.outputs) == 3 * UNITS + 2 * UNITS
    assert len(made.store.scores) == 3 * len(TRACKS)


def test_more_samples_later_are_only_those_that_lack(job, log):
    Local().run(job(noisy=noisy(), mean=mean(samples=2)))
    log.write_text("")
    Local().run(job(noisy=noisy(), mean=mean(samples=5)))
    assert sorted(computed(log).values()) == [1] * 3 * UNITS


@pytest.mark.parametrize("keep_audio", ["float32", "flac", "false"])
def test_a_finished_run_has_nothing_to_do_whatever_audio_is_kept(job, log, choose, keep_audio):
    nodes = {"noisy": noisy(), "mean": mean(), "both": ensemble(choose("mean", "noisy"), "mean", "noisy")}
    first = job(keep_audio=keep_audio, **nodes)
    assert Local().run(first) == {}
    assert to_do(first) == {}
    before = {path: path.read_bytes() for path in first.store.root.rglob("*") if path.is_file()}
    log.write_text("")
    again = job(keep_audio=keep_audio, **nodes)
    assert Local().run(again) == {}
    assert log.read_text() == ""
    assert {path: path.read_bytes() for path in again.store.root.rglob("*") if path.is_file()} == before


def test_a_mean_costs_what_its_samples_cost(job):
    made = job(noisy=noisy(), mean=mean())
    Local().run(made)
    for unit in units_of(made, "mean"):
        assert made.store.outputs[unit.id].seconds == pytest.approx(
            sum(made.store.outputs[each.id].seconds for each in unit.inputs), abs=1e-6
        )
        assert made.store.outputs[unit.id].device == "cpu"


def test_what_there_is_to_do_counts_the_samples(job):
    made = job(noisy=noisy(), mean=mean())
    assert Counter(unit.system.name for unit in to_do(made).values()) == {"noisy": 3 * UNITS, "mean": UNITS}
    Local().run(job(noisy=noisy()))
    assert Counter(unit.system.name for unit in to_do(job(**spelled(made))).values()) == {
        "noisy": 2 * UNITS,
        "mean": UNITS,
    }


def spelled(job):
    """The nodes of a job's systems."""
    return {system.name: OmegaConf.to_container(system.config) for system in job.plan.systems}


def test_a_person_who_waits_is_told_what_is_sampled_and_what_is_put_together(job, capsys):
    Local().run(job(noisy=noisy(), two=mean(samples=2), mean=mean(samples=4)))
    said = capsys.readouterr().err
    for label in ("noisy", "noisy, replicate 1", "noisy, replicates 2 to 3"):
        assert f"separating: {label}: " in said
    assert "combining: mean: 4/4" in said


# What audio stays


@pytest.mark.parametrize(("keep_audio", "kept"), [("float32", 5 * UNITS), ("flac", 0), ("false", 0)])
def test_what_audio_is_kept(job, choose, keep_audio, kept):
    """Of samples without a row no FLACs are kept, either."""
    nodes = {"noisy": noisy(), "mean": mean(), "both": ensemble(choose("mean", "noisy"), "mean", "noisy")}
    made = job(keep_audio=keep_audio, **nodes)
    assert Local().run(made) == {}
    assert len(audio_of(made.store.root)) == kept
    listening = {path.name for path in made.store.root.glob("flac/??/*")}
    rows = {unit.id for name in nodes for unit in units_of(made, name)}
    assert listening == (rows if keep_audio == "flac" else set())


def test_a_mean_is_made_of_a_row_that_was_dropped_before(job, log):
    Local().run(job(keep_audio="false", noisy=noisy()))
    log.write_text("")
    made = job(keep_audio="false", noisy=noisy(), mean=mean())
    assert Local().run(made) == {}
    assert sorted(computed(log).values()) == [1] * 3 * UNITS
    assert audio_of(made.store.root) == set()
    assert len(made.store.scores) == 2 * len(TRACKS)


def test_an_ensemble_is_made_of_means_that_were_dropped_before(job, choose, log):
    nodes = {"noisy": noisy(), "mean": mean()}
    Local().run(job(keep_audio="false", **nodes))
    log.write_text("")
    made = job(keep_audio="false", **nodes, both=ensemble(choose("mean", "noisy"), "mean", "noisy"))
    assert Local().run(made) == {}
    assert sorted(computed(log).values()) == [1] * 3 * UNITS
    assert audio_of(made.store.root) == set()


def test_audio_that_was_dropped_is_made_again_for_another_metric(job):
    first = job(keep_audio="false", noisy=noisy(), mean=mean())
    Local().run(first)
    again = job(keep_audio="false", hop=0.5, noisy=noisy(), mean=mean())
    assert Local().run(again) == {}
    assert {unit: output.files for unit, output in again.store.outputs.items()} == {
        unit: output.files for unit, output in first.store.outputs.items()
    }
    assert len(again.store.scores) == 4 * len(TRACKS)
    assert audio_of(again.store.root) == set()


def test_audio_that_a_failed_unit_needs_stays_for_the_next_attempt(job, fault, log):
    nodes = {"noisy": noisy(), "mean": mean()}
    made = job(keep_audio="false", batch_size=1, **nodes)
    bad = units_of(made, "mean")[0].inputs[2]
    fault.write_text(str(bad.seed))
    assert len(Local().run(made)) == 2
    track = {unit.id for unit in made.plan.everything().values() if unit.excerpt.track == bad.excerpt.track}
    assert audio_of(made.store.root) == track - {bad.id, units_of(made, "mean")[0].id}
    fault.unlink()
    log.write_text("")
    assert Local().run(job(keep_audio="false", **nodes)) == {}
    assert computed(log) == {f"0 {bad.seed}": 1}
    assert audio_of(made.store.root) == set()


# What goes wrong


@pytest.mark.parametrize(("replicate", "label"), [(0, "noisy"), (2, "noisy, replicate 2")])
def test_what_is_made_of_a_failed_output_fails_alone_and_says_of_which(job, fault, log, capsys, replicate, label):
    made = job(mean=mean(), noisy=noisy())
    unit = units_of(made, "mean")[1]
    bad = unit.inputs[replicate]
    fault.write_text(str(bad.seed))
    failures = Local().run(made)
    assert failures.keys() == {bad.id, unit.id}
    assert not isinstance(failures[unit.id], BadInputError)
    assert made.store.failures[unit.id]["message"] == f"its input {label} failed: out of luck"
    assert made.store.failures[bad.id]["attempt"] == 1
    assert {each.id for each in units_of(made, "mean")} & made.store.outputs.keys() == {
        each.id for each in units_of(made, "mean") if each != unit
    }
    said = capsys.readouterr().err
    assert f"error: {label}, Track0 at 0.5 s: out of luck" in said
    assert f"error: mean, Track0 at 0.5 s: its input {label} failed: out of luck" in said
    fault.unlink()
    assert Local().run(job(noisy=noisy(), mean=mean())) == {}


def test_tracks_that_an_input_does_not_cover_are_left_out_and_do_not_fail(job, choose, log, capsys):
    nodes = {"all": noisy(), "some": noisy(variant=1, lacks="Track1"), "mean": mean("some")}
    nodes["both"] = ensemble(choose("all", "mean"), "all", "mean")
    made = job(keep_audio="false", **nodes)
    assert Local().run(made) == {}
    scored = Counter(score["track"] for score in made.store.scores.values())
    assert scored == {"Track0": 4, "Track1": 1}
    assert len(computed(log)) == UNITS + 3 * CHUNKS
    assert made.store.failures == {}
    assert audio_of(made.store.root) == set()
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if "covers" in line] == [
        f"{name}: covers 1 of 2 songs; not Track1, …" for name in ("some", "mean", "both")
    ]


@pytest.mark.parametrize("kind", ["input", "output"])
def test_a_damaged_file_is_made_again(job, log, kind):
    """A sample without a row is looked at when something is to be made of it."""
    nodes = {"noisy": noisy(), "mean": mean()}
    first = job(**nodes)
    Local().run(first)
    unit = units_of(first, "mean")[0]
    before = first.store.outputs[unit.id].files
    bad = {"input": unit.inputs[1], "output": unit}[kind]
    for doomed in {bad.id, unit.id}:
        path = first.store.audio_folder(doomed) / "drums.wav"
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    log.write_text("")
    again = job(**nodes)
    assert Local().run(again) == {}
    assert computed(log) == ({f"0 {bad.seed}": 1} if kind == "input" else {})
    assert again.store.outputs[unit.id].files == before
    assert again.store.read_output(unit) is not None


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("nan", "NaN or infinite"),
        ("three", r"gave stems of shape \(3, \d+\) where \[K, T\] is"),
        ("all", r"shape \(1, 4,"),
    ],
)
def test_a_combination_that_cannot_be_scored_is_a_failure_that_says_why(job, how, message):
    made = job(noisy=noisy(), spoilt={"_target_": "test_derived.Spoilt", "of": "noisy", "how": how})
    failures = Local().run(made)
    assert failures.keys() == {unit.id for unit in units_of(made, "spoilt")}
    assert made.store.failures[units_of(made, "spoilt")[0].id]["message"].startswith(
        ("estimate: NaN", "gave stems of shape")
    )
    with pytest.raises(type(failures[units_of(made, "spoilt")[0].id]), match=message):
        raise failures[units_of(made, "spoilt")[0].id]


# What they are


def test_a_mean_is_known_by_its_samples_and_not_by_names():
    def id_of(name="noisy", variant=0, samples=3):
        return specs(**{name: noisy(variant=variant), "mean": mean(name, samples)})[1].id

    assert id_of() == id_of("renamed")
    assert len({id_of(), id_of(variant=1), id_of(samples=2), specs(noisy=noisy())[0].id}) == 4


def test_an_ensemble_is_known_by_what_each_stem_is_taken_from(choose):
    def id_of(choice, a="a", b="b", variant=1, others=()):
        systems = {a: noisy(), b: noisy(variant=variant), **{name: noisy(variant=9) for name in others}}
        return specs(**systems, ensemble=ensemble(choose(*choice), a, b, *others))[-1].id

    assert id_of("ab") == id_of("xy", "x", "y") == id_of("ab", others=("c",))
    assert len({id_of("ab"), id_of("aabb"), id_of("a"), id_of("ab", variant=2), id_of("ba"), id_of("b")}) == 6
    assert id_of("ab") != specs(a=noisy(), mean=mean("a", 2))[-1].id


def test_what_else_the_file_of_a_choice_says_changes_nothing(choose):
    path = Path(choose("a", "b"))
    systems = {"a": noisy(), "b": noisy(variant=1), "both": ensemble(str(path), "a", "b")}
    before = specs(**systems)[-1].id
    path.write_text(f"# again\nby: me\n{path.read_text()}")
    assert specs(**systems)[-1].id == before


def test_what_is_run_is_what_was_resolved(job, choose):
    """A choice that changes in mid-run, which may last for days, is another system and not this one."""
    path = choose("a", "b")
    made = job(a=noisy(), b=noisy(variant=1), both=ensemble(path, "a", "b"))
    Path(path).write_text(Path(choose("b", "a")).read_text())
    Local().run(made)
    unit, a = units_of(made, "both")[0], units_of(made, "a")[0]
    np.testing.assert_array_equal(stems_of(made, unit)[0], stems_of(made, a)[0])


def test_the_modules_behind_a_system_are_those_behind_its_inputs_too():
    curve = {"_target_": "test_units.Nested", "curve": {"_target_": "gmsdi.schedule.LogNormal"}}
    found = specs(curve=curve, mean=mean("curve", 2))
    assert found[0].modules == ("test_units", "gmsdi.schedule")
    assert found[1].modules == ("gmsdi.ensemble", "test_units", "gmsdi.schedule")


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ({"m": mean("noisy")}, "system m is made of noisy; add noisy to system=[…]"),
        ({"m": mean("m")}, "system m: is made of itself, by way of m"),
        ({"m": mean("n"), "n": mean("m")}, "system m: is made of itself, by way of m and n"),
        (
            {"a": noisy(), "m": mean("a"), "n": mean("m")},
            "system n: takes several samples of m, which is itself made of others; take them of what that is made of",
        ),
        ({"a": noisy(), "m": mean("a", 0)}, "system m: samples=0: at least 1 is needed"),
        (
            {"a": noisy(), "m": {**mean("a"), "sampels": 3}},
            "system m: Mean got an unexpected keyword argument 'sampels'; see configs/system/m.yaml",
        ),
        (
            {"a": noisy(), "e": ensemble("nowhere.yaml", "a")},
            "system e: nowhere.yaml: there is no choice of systems here; make one: `gmsdi tune system=[a] tuned=NAME`",
        ),
    ],
)
def test_a_system_that_cannot_be_made_is_bad_input(nodes, message):
    with pytest.raises(BadInputError) as raised:
        specs(**nodes)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "choice: {bass: a, drums: a, guitar: b}",
            "chooses no system for each of bass, drums, guitar, piano and nothing",
        ),
        ("choice: {bass: a, drums: a, guitar: b, piano: b, voice: a}", "chooses no system for each of"),
        (
            "choice: {bass: a, drums: a, guitar: b, piano: gmsdi}",
            "chooses 'gmsdi' for piano, which is no member; there are a",
        ),
        ("choice: {bass: 1, drums: a, guitar: b, piano: b}", "chooses 1 for bass"),
        ("[a, b]", "chooses no system"),
        ("", "chooses no system"),
        ("choice: a", "chooses no system"),
        ("choice: {bass: [a]", "expected"),
        ("\x00", "special characters"),
    ],
)
def test_a_choice_that_chooses_nothing_names_file_and_remedy(tmp_path, text, message):
    path = tmp_path / "choice.yaml"
    path.write_text(text)
    with pytest.raises(BadInputError) as raised:
        specs(a=noisy(), b=noisy(variant=1), both=ensemble(str(path), "a", "b"))
    assert str(raised.value).startswith(f"system both: {path}: ") and message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_choice_says_nothing_of_other_systems_than_those_it_was_made_among(choose):
    path = choose("a", "a")  # b is chosen for no stem, but another b might be
    systems = {"a": noisy(), "b": noisy(variant=1)}
    specs(**systems, both=ensemble(path, "a", "b"))
    assert "rows" in yaml.safe_load(Path(path).read_text())
    assert [spec.lacks for spec in specs(**systems, both=ensemble(path, "a", "b"))] == ["", "", ""]
    for other in ({"a": noisy(variant=2)}, {"b": noisy(variant=2)}):
        found = specs(**{**systems, **other}, both=ensemble(path, "a", "b"), more=mean("both", 1))
        (name,) = other
        assert found[2].lacks.startswith(f"was chosen among another {name} (")
        assert "`gmsdi tune system=[a,b] tuned=NAME`" in found[2].lacks
        assert found[3].lacks.startswith("both was chosen among another")
    with pytest.raises(BadInputError, match=r"add b to system="):
        specs(a=noisy(), both=ensemble(path, "a", "b"))


def test_a_choice_without_its_candidates_is_refused(tmp_path):
    path = tmp_path / "choice.yaml"
    path.write_text("choice: {bass: a, drums: a, guitar: a, piano: a}\nrows: []")
    with pytest.raises(BadInputError, match="does not record which a were compared"):
        specs(a=noisy(), both=ensemble(str(path), "a"))


def test_a_refused_row_is_empty_says_why_and_stops_no_other(job, choose):
    path = choose("a", "b")
    job(a=noisy(), b=noisy(variant=1), both=ensemble(path, "a", "b"))  # notes whom it was made among
    made = job(a=noisy(), b=noisy(variant=2), both=ensemble(path, "a", "b"))
    assert Local().run(made) == {}
    assert {unit.system.name for unit in made.plan.everything().values()} == {"a", "b"}
    with pytest.raises(BadInputError, match="system both was chosen among another b"):
        make_plan(made.plan.manifest, made.plan.protocol, [spec_of(made, "both")], 0)


# Through the command line


@pytest.fixture
def overrides(songs, tmp_path, log, fault):
    mine = {
        "noisy.label": "Noisy",
        "noisy.separator": f"{{_target_: test_derived.Noisy, log: {log}, fault: {fault}}}",
        "mean.label": "Mean",
        "mean.separator": "{_target_: gmsdi.ensemble.Mean, of: noisy, samples: 3}",
    }
    return [
        "dataset=msdm_layout",
        *(f"{name}={tmp_path / name}" for name in ("data", "cache", "store", "out")),
        f"protocol.chunk={CHUNK}",
        "metrics.si_sdri.window=0.5",
        "metrics.si_sdri.hop=0.25",
        "system=[mixture]",
        *(f"+systems.{key}={value}" for key, value in mine.items()),
    ]


def cost(capsys, overrides):
    """What a dry run says, by system."""
    assert cli.main(["run", *overrides, "dry_run=true"]) == 0
    rows = [line.replace("│", " ").split() for line in capsys.readouterr().out.splitlines()]
    return {row[0]: row[1:] for row in rows if row and row[0] in ("noisy", "mean", "mixture")}


def test_a_dry_run_counts_the_samples(overrides, capsys):
    size = f"{4 * 4 * CHUNK * UNITS:,}"
    found = cost(capsys, overrides)
    assert found["noisy"] == ["12", "12", "unknown", f"{3 * 4 * 4 * CHUNK * UNITS:,}"]
    assert found["mean"] == ["4", "4", "0", size]
    assert cli.main(["run", *overrides, "~systems.mean"]) == 0
    found = cost(capsys, overrides)
    assert found["noisy"][:2] == ["12", "8"] and float(found["noisy"][2]) >= 0
    assert cli.main(["run", *overrides]) == 0
    assert {tuple(row[1:]) for row in cost(capsys, overrides).values()} == {("0", "0", "0")}


def test_the_row_of_a_mean_is_marked_when_the_code_of_its_input_changed(overrides, tmp_path, monkeypatch, capsys):
    digests = sources.digests

    def digits(digit):
        monkeypatch.setattr(sources, "digests", lambda modules: {**digests(modules), "test_derived": digit * 64})

    def notes():
        assert cli.main(["table", *overrides]) == 0
        rows = json.loads((tmp_path / "out" / "separation.json").read_text())["rows"]
        return {row["name"]: " ".join(row["notes"]) for row in rows}

    digits("0")
    assert cli.main(["run", *overrides]) == 0
    assert "20 of 20 excerpts done" in capsys.readouterr().err
    assert notes() == {"mixture": "", "noisy": "", "mean": ""}
    digits("1")
    changed = notes()
    assert changed["mixture"] == "" and changed["mean"] == changed["noisy"]
    assert "made by other code of test_derived than this" in changed["mean"]


def test_a_row_is_marked_when_only_its_samples_were_made_by_other_code(job):
    """The samples are of an earlier run than the mean of them."""
    from benchmarks.cells.notes import _made_by_other_code

    Local().run(job(noisy=noisy()))
    made = job(noisy=noisy(), mean=mean())
    store = made.store
    code = provenance("cpu", made.modules)["code"]
    runs = [store.record_run({"code": {**code, "test_derived": digit * 64}}) for digit in "01"]
    store.record_outputs([replace(output, run=runs[0]) for output in store.outputs.values()])
    assert Local().run(replace(made, run=runs[1])) == {}
    notes = {
        name: _made_by_other_code(spec_of(made, name), units_of(made, name), store, store.run(runs[1]))
        for name in ("noisy", "mean")
    }
    assert notes["noisy"] == notes["mean"] and "made by other code of test_derived than this" in notes["mean"][0]


def test_an_input_that_is_not_configured_is_one_line_and_exit_code_4(overrides, capsys):
    assert cli.main(["run", *(override for override in overrides if not override.startswith("+systems.noisy"))]) == 4
    said = capsys.readouterr().err.splitlines()
    assert said == ["error: system mean is made of noisy; add noisy to system=[…]"]


@pytest.mark.parametrize(
    ("kind", "code", "remedy"), [("luck", 2, "run again to retry"), ("input", 4, "mend the input")]
)
def test_failed_inputs_end_the_command_with_the_exit_code_of_their_fault(
    overrides, fault, capsys, job, kind, code, remedy
):
    made = job(noisy=noisy(), mean=mean())
    fault.write_text(f"{kind} {units_of(made, 'mean')[0].inputs[1].seed}")
    assert cli.main(["run", *overrides]) == code
    assert f"error: 2 of 20 excerpts failed, see above; {remedy}" in capsys.readouterr().err
    fault.unlink()
    assert cli.main(["run", *overrides]) == 0
