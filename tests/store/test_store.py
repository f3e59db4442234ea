"""The store: what is recorded is there, what is there is what was recorded, and what is dropped is not missed."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from benchmarks.data.msdm_layout import MsdmLayout
from benchmarks.identity import digest
from benchmarks.metrics.si_sdr import SiSDR
from benchmarks.plan.systems import resolve
from benchmarks.plan.units import Protocol, make_plan, make_unit
from benchmarks.run.job import Job
from benchmarks.run.launch import Local
from benchmarks.run.score import score
from benchmarks.run.todo import missing_units
from benchmarks.store.journal import Journal
from benchmarks.store.store import Store, open_store
from gmsdi import SAMPLE_RATE, STEMS, audio
from gmsdi.errors import BadInputError, IntegrityError
from gmsdi.system import Separator

CHUNK = SAMPLE_RATE
LOUD = 4.0


@pytest.fixture
def job(tmp_path, noise, write_track):
    """``job(keep_audio)``: the oracle on one track of two chunks of a second, each time with a fresh view of one store."""
    stems = {stem: noise(k, 2 * CHUNK) for k, stem in enumerate(STEMS)}
    stems["drums"] *= LOUD / np.abs(stems["drums"]).max()
    write_track(tmp_path / "data" / "test" / "Track0", stems)
    dataset = MsdmLayout("tiny", tmp_path / "data", tmp_path / "cache").split("test")
    node = {"label": "oracle", "separator": {"_target_": "baselines.bounds.IdealRatioMask"}}
    plan = make_plan(dataset.manifest, Protocol("tiny", CHUNK), [resolve("oracle", OmegaConf.create(node))], 0)

    def make(keep_audio="float32"):
        store = open_store(tmp_path / "store")
        return Job(plan, dataset, (SiSDR(window=1.0, hop=0.5),), store, 2, keep_audio, "cpu", "run")

    return make


@pytest.fixture
def unit(job):
    """One unit of the job."""
    made = job()
    return next(made.plan.of_system(made.plan.systems[0]))


@pytest.fixture
def stems(noise):
    """Some stems ``[K, T]``."""
    return np.concatenate([noise(k, CHUNK) for k in range(len(STEMS))])


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def write(store, unit, stems):
    return store.write_output(unit, stems, SAMPLE_RATE, 1.5, "cpu", "run")


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_output_is_done_when_it_is_recorded_and_not_before(store, unit, stems):
    output = write(store, unit, stems)
    assert not Store(store.root).refresh().has_output(unit.id)
    store.record_outputs([output])
    assert Store(store.root).refresh().has_output(unit.id)


def test_records_and_samples_come_back_as_they_were(store, unit, stems):
    output = write(store, unit, stems)
    store.record_outputs([output])
    again = Store(store.root).refresh()
    assert again.outputs == {unit.id: output}
    np.testing.assert_array_equal(again.read_output(unit), stems)


def test_a_sidecar_says_what_an_output_is(store, unit, stems):
    output = write(store, unit, stems)
    said = json.loads((store.audio_folder(unit.id) / "unit.json").read_text())
    assert (said["system"], said["track"], said["seed"]) == (unit.system.id, "Track0", unit.seed)
    assert tuple(said["files"]) == output.files


@pytest.mark.parametrize("keep_audio", ["float32", "flac", "false"])
def test_everything_that_makes_a_unit_again_stays_whatever_audio_is_kept(job, keep_audio):
    """From the records alone: the system from its config, the unit's id from what is recorded, and the seed of its noise."""
    made = job(keep_audio)
    Local().run(made)
    store = Store(made.store.root).refresh()
    for unit in made.plan.everything().values():
        origin = store.origins()[unit.id]
        kept = store.system(origin["system"])
        assert digest(kept["identity"]) == origin["system"] == unit.system.id
        again = resolve(kept["name"], OmegaConf.create({"label": "again", "separator": kept["config"]}))
        assert again.id == unit.system.id
        stretch = next(
            excerpt
            for track in made.plan.manifest.tracks
            for excerpt in made.plan.protocol.excerpts(track)
            if excerpt.id == origin["excerpt"]
        )
        same = make_unit(again, stretch, origin["base"], origin["replicate"])
        assert (same.id, same.seed, stretch.start) == (unit.id, origin["seed"], origin["start"])
        assert origin["run"] == store.outputs[unit.id].run


def test_a_systems_record_that_was_edited_is_refused(store, unit, stems):
    store.record_outputs([write(store, unit, stems)])
    (path,) = (store.root / "systems").iterdir()
    assert store.system(unit.system.id)["identity"] == json.loads(unit.system.identity)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"config": {"_target_": "baselines.bounds.Silence"}}))
    with pytest.raises(IntegrityError, match=path.name):
        store.system(unit.system.id)


def test_a_unit_is_invalidated_until_it_is_said_to_count_again(store, unit, stems):
    store.record_outputs([write(store, unit, stems)])
    store.invalidate([unit.id], "ann", "bad memory")
    again = Store(store.root).refresh()
    assert again.is_invalidated(unit)["why"] == "bad memory" and again.has_output(unit.id)
    again.compact()
    again.invalidate([unit.id], "ann", "it was not", undo=True)
    assert Store(store.root).refresh().is_invalidated(unit) is None


def test_an_output_that_was_never_recorded_is_written_anew(store, unit, stems):
    write(store, unit, np.zeros_like(stems))
    (store.audio_folder(unit.id) / "guitar.wav").unlink()  # as if it had been killed half-way
    (store.audio_folder(unit.id).with_name(f".{unit.id}.0123.tmp")).mkdir()
    store.record_outputs([write(store, unit, stems)])
    np.testing.assert_array_equal(store.read_output(unit), stems)


@pytest.mark.parametrize("position", [0, 4, 20, 24, 40, 50, 60, 1000, -1])
def test_one_changed_byte_anywhere_in_a_wav_stops_the_scoring_and_names_the_file(job, position):
    made = job()
    (system,) = made.plan.systems
    Local().run(made)
    unit = next(made.plan.of_system(system))
    path = made.store.audio_folder(unit.id) / "guitar.wav"
    damaged = bytearray(path.read_bytes())
    damaged[position] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(IntegrityError, match=f"{path}: changed"):
        score(system, replace(made, metrics=(SiSDR(window=1.0, hop=1.0),)))


def test_a_wav_that_is_gone_is_named(store, unit, stems):
    store.record_outputs([write(store, unit, stems)])
    path = store.audio_folder(unit.id) / "bass.wav"
    path.unlink()
    with pytest.raises(IntegrityError, match=f"{path}: recorded as done but gone"):
        store.read_output(unit)


@pytest.mark.parametrize("keep_audio", ["float32", "flac", "false"])
def test_a_finished_run_has_nothing_to_do_whatever_audio_is_kept(job, keep_audio):
    first = job(keep_audio)
    assert Local().run(first) == {}
    before = files(first.store.root)
    again = job(keep_audio)
    assert missing_units(again.plan.systems[0], again) == []
    assert Local().run(again) == {}
    assert again.store.scores == first.store.scores != {}
    assert files(first.store.root) == before


@pytest.mark.parametrize(("keep_audio", "kept"), [("float32", {"audio"}), ("flac", {"flac"}), ("false", set())])
def test_what_audio_is_kept(job, keep_audio, kept):
    made = job(keep_audio)
    Local().run(made)
    folders = {path.relative_to(made.store.root).parts[0] for path in files(made.store.root)}
    assert folders == {"outputs", "scores", "origins", "systems", *kept}


def test_audio_that_was_dropped_is_made_again_for_another_metric(job):
    made = job("false")
    Local().run(made)
    hashes = {unit: output.files for unit, output in made.store.outputs.items()}
    other = job("false")
    other = replace(other, metrics=(SiSDR(window=1.0, hop=1.0),))
    assert Local().run(other) == {}
    assert {unit: output.files for unit, output in other.store.outputs.items()} == hashes
    assert len(other.store.scores) == 2


class Dice(Separator):
    """A system that never gives the same stems twice, as one on another GPU may not."""

    def separate(self, batch):
        return torch.rand(len(batch.mixtures), len(STEMS), batch.mixtures.shape[1])


def test_what_was_scored_and_dropped_must_come_out_as_it_was(job):
    """Another metric asks for the audio again. It is another audio now: the new metric fails, and the old scores stay."""
    made = job("false")
    dice = resolve("dice", OmegaConf.create({"label": "dice", "separator": {"_target_": "test_store.Dice"}}))
    plan = make_plan(made.plan.manifest, made.plan.protocol, [dice], 0)
    first = replace(made, plan=plan)
    assert Local().run(first) == {}
    again = replace(first, metrics=(SiSDR(window=1.0, hop=1.0),), store=open_store(first.store.root))
    failures = Local().run(again)
    assert failures.keys() == {unit.id for unit in plan.of_system(dice)}
    assert all(
        isinstance(failure, IntegrityError) and "came out otherwise" in str(failure) for failure in failures.values()
    )
    kept = open_store(first.store.root)
    assert (kept.outputs, kept.scores) == (first.store.outputs, first.store.scores)
    assert missing_units(dice, replace(first, store=kept)) == []


def test_flac_is_close_to_what_it_was_made_of_and_scaled_down_if_it_peaks_over_1(job, tmp_path):
    kept, made = job(), job("flac")
    (system,) = kept.plan.systems
    Local().run(kept)
    estimates = [kept.store.read_output(unit) for unit in kept.plan.of_system(system)]
    Local().run(made)
    assert max(np.abs(stems).max() for stems in estimates) > 1
    for unit, stems in zip(kept.plan.of_system(system), estimates, strict=True):
        for stem, samples in zip(STEMS, stems, strict=True):
            heard, rate = audio.read(made.store.root / "flac" / unit.id[:2] / unit.id / f"{stem}.flac")
            assert rate == SAMPLE_RATE
            np.testing.assert_allclose(heard[0], samples / max(1, np.abs(samples).max()), atol=2**-23)


def test_a_failure_counts_the_attempts_of_every_process(store, unit):
    store.record_failures([unit], ValueError("first"), "run")
    Store(store.root).refresh().record_failures([unit], KeyError(), "run")
    (failure,) = Store(store.root).refresh().failures.values()
    assert (failure["attempt"], failure["error"], failure["message"]) == (2, "KeyError", "KeyError")


def test_scores_come_back_as_they_were_after_compaction(store):
    column = {"values": [[0.1, None]], "undefined": {}}
    records = [{"key": str(n), "outputs": [], "columns": {"msdm": column}} for n in range(3)]
    for record in records:
        store.record_scores([record])
    store.compact()
    assert Store(store.root).refresh().scores == {record["key"]: record for record in records}


@pytest.mark.parametrize("kind", ["outputs", "scores", "failures", "left_out"])
def test_a_record_that_lacks_a_field_is_named(store, kind):
    Journal(store.root / kind).append([{"seconds": 1}])
    with pytest.raises(IntegrityError, match=rf"{kind}/.*: damaged, of another version; remove the file"):
        store.refresh()


def test_the_provenance_of_a_run_is_kept_once(store):
    run = store.record_run({"commit": "abc"})
    assert store.record_run({"commit": "abc"}) == run
    assert store.run(run) == {"commit": "abc"}
    assert len(list((store.root / "runs").iterdir())) == 1


def test_damaged_provenance_is_named(store):
    path = store.root / "runs" / f"{store.record_run({'commit': 'abc'})}.json"
    for text in ("{", '{"commit":"abd"}'):
        path.write_text(text)
        with pytest.raises(IntegrityError, match=path.name):
            Store(store.root).run(path.stem)


def test_a_store_that_cannot_be_written_to_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BadInputError, match="the store cannot be written to"):
        open_store(tmp_path / "file" / "store")
