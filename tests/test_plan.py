"""What makes a unit another unit, and what does not."""

from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from baselines.bounds import IdealRatioMask
from benchmarks.data.msdm_layout import MsdmLayout
from benchmarks.plan import Protocol, make_plan
from benchmarks.spec import resolve
from gmsdi import SAMPLE_RATE, STEMS, audio
from gmsdi.errors import BadInputError
from gmsdi.system import Batch, Separator

CHUNK = SAMPLE_RATE // 2
PROTOCOL = Protocol("tiny", CHUNK)


class Weighted(Separator):
    """A system with weights in a file."""

    def __init__(self, checkpoint: str, steps: int = 100) -> None:
        self.gain = float(Path(checkpoint).read_text())

    def separate(self, batch: Batch) -> torch.Tensor:
        return batch.mixtures[:, None].repeat(1, len(STEMS), 1) * self.gain


@pytest.fixture
def songs(tmp_path, noise, write_track):
    """The folder of two tracks of two chunks and a remainder."""
    for t in range(2):
        stems = {stem: noise(10 * t + k, 2 * CHUNK + 100) for k, stem in enumerate(STEMS)}
        write_track(tmp_path / "data" / "test" / f"Track{t}", stems)
    return tmp_path / "data"


def system(name="weighted", target="test_plan.Weighted", **arguments):
    return resolve(name, OmegaConf.create({"label": name, "separator": {"_target_": target, **arguments}}))


def plan_of(songs, *systems, seed=0, replicate=0, protocol=PROTOCOL):
    manifest = MsdmLayout("tiny", songs, songs.parent / "cache").split("test").manifest
    return make_plan(manifest, protocol, systems or [system(target="baselines.bounds.Mixture")], seed, replicate)


def ids(plan):
    return {unit.id for units in plan.units.values() for unit in units}


def seeds(plan, spec):
    return [unit.seed for unit in plan.of_system(spec)]


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "weights"
    path.write_text("0.5")
    return path


def test_every_whole_chunk_of_every_track_is_a_unit(songs):
    (spec,) = (plan := plan_of(songs)).systems
    assert [(unit.excerpt.track, unit.excerpt.start) for unit in plan.of_system(spec)] == [
        ("Track0", 0),
        ("Track0", CHUNK),
        ("Track1", 0),
        ("Track1", CHUNK),
    ]


def test_the_same_config_makes_the_same_units(songs, checkpoint):
    assert ids(plan_of(songs, system(checkpoint=checkpoint))) == ids(plan_of(songs, system(checkpoint=checkpoint)))


def test_other_bytes_under_the_name_of_a_checkpoint_make_other_units(songs, checkpoint):
    before = ids(plan_of(songs, system(checkpoint=checkpoint)))
    checkpoint.write_text("0.6")
    assert ids(plan_of(songs, system(checkpoint=checkpoint))).isdisjoint(before)


def test_a_checkpoint_that_moved_makes_the_same_units(songs, checkpoint):
    before = ids(plan_of(songs, system(checkpoint=checkpoint)))
    moved = checkpoint.rename(checkpoint.with_name("moved"))
    assert ids(plan_of(songs, system(checkpoint=moved))) == before


def test_another_default_in_the_code_makes_other_units(songs, checkpoint, monkeypatch):
    before = ids(plan_of(songs, system(checkpoint=checkpoint)))
    monkeypatch.setattr(Weighted.__init__, "__defaults__", (200,))
    assert ids(plan_of(songs, system(checkpoint=checkpoint))).isdisjoint(before)


def test_a_default_that_is_written_out_makes_the_same_units(songs, checkpoint):
    assert ids(plan_of(songs, system(checkpoint=checkpoint))) == ids(
        plan_of(songs, system(checkpoint=checkpoint, steps=100))
    )


def test_another_value_in_the_config_makes_other_units(songs):
    oracle = f"{IdealRatioMask.__module__}.{IdealRatioMask.__name__}"
    before = ids(plan_of(songs, system(target=oracle)))
    assert ids(plan_of(songs, system(target=oracle, power=1.0))).isdisjoint(before)


@pytest.mark.parametrize("other", [{"seed": 1}, {"replicate": 1}, {"protocol": Protocol("", CHUNK - 1)}])
def test_another_seed_replicate_or_chunk_makes_other_units(songs, other):
    assert ids(plan_of(songs, **other)).isdisjoint(ids(plan_of(songs)))


def test_one_other_sample_makes_other_units_of_its_track_alone(songs):
    before = ids(plan_of(songs))
    path = songs / "test" / "Track1" / "piano.wav"
    samples = np.array(audio.read(path)[0])
    samples[0, 0] += 1e-3
    audio.write(path, samples, SAMPLE_RATE)
    assert len(ids(plan_of(songs)) & before) == 2


def test_another_name_of_a_track_or_a_system_makes_the_same_units(songs):
    before = ids(plan_of(songs))
    (songs / "test" / "Track0").rename(songs / "test" / "Renamed")
    assert ids(plan_of(songs, system("renamed", target="baselines.bounds.Mixture"))) == before


def test_seeds_are_shared_by_systems_and_differ_between_excerpts_and_replicates(songs):
    systems = [system(target=f"baselines.bounds.{name}") for name in ("Mixture", "Silence")]
    first, again = plan_of(songs, *systems), plan_of(songs, *systems, replicate=1)
    assert seeds(first, systems[0]) == seeds(first, systems[1])
    assert len({*seeds(first, systems[0]), *seeds(again, systems[0])}) == 8


def test_tracks_shorter_than_a_chunk_leave_nothing_to_do(songs):
    with pytest.raises(BadInputError, match="no track holds a chunk"):
        plan_of(songs, protocol=Protocol("long", 10 * CHUNK))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"target": "baselines.nowhere.X"}, "nowhere"), ({"checkpoint": "x", "stesp": 1}, "stesp"), ({}, "checkpoint")],
)
def test_a_system_that_cannot_be_made_is_bad_input(arguments, message):
    with pytest.raises(BadInputError, match=message):
        system(**arguments)


def test_a_folder_is_what_lies_in_it_and_a_word_is_a_word(tmp_path, monkeypatch):
    """A word is never taken for a path, even where a folder of that name happens to be."""
    for name in ("a", "b"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / "weights").write_text("1")
    assert Weighted.identify(checkpoint=f"{tmp_path}/a") == Weighted.identify(checkpoint=f"{tmp_path}/b")
    (tmp_path / "b" / "deep" / "weights").write_text("2")
    assert Weighted.identify(checkpoint=f"{tmp_path}/a") != Weighted.identify(checkpoint=f"{tmp_path}/b")
    monkeypatch.chdir(tmp_path)
    assert Weighted.identify(mode="a", steps=3) == {"mode": "a", "steps": 3}
