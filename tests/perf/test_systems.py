"""The speed of configured systems: how many evaluations they take, with tiny networks, and what has none."""

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from benchmarks import config
from benchmarks.data.msdm_layout import MsdmLayout
from benchmarks.perf import systems
from benchmarks.plan.systems import resolve_all
from benchmarks.plan.units import Protocol
from benchmarks.run.timings import evaluations
from gmsdi import SAMPLE_RATE, STEMS, checkpoint
from gmsdi.checkpoint import Manifest
from gmsdi.model import build_denoiser
from gmsdi.system import Batch

STEPS, RESAMPLES, CHUNKS, SAMPLES = 5, 2, 2, 512
CALLS = STEPS * RESAMPLES
SETTINGS = {
    "posterior": {"_target_": "gmsdi.posterior.Projected", "_partial_": True},
    "sigmas": {"_target_": "gmsdi.schedule.karras", "steps": STEPS, "sigma_min": 0.01, "sigma_max": 1.0},
    "sampler": {"_target_": "gmsdi.sampler.Sampler", "resamples": RESAMPLES},
}
TEXT = {"encoder": "TagEncoder", "vocabulary": list(STEMS)}


def save(path, kind, stems, channels, **text):
    network = {
        "backbone": "SpectralUNet",
        "window": 64,
        "hop": 16,
        "widths": [8, 8],
        "mapping": 8,
        "channels": channels,
    }
    network |= {"embedding_features": len(STEMS)} if text else {}
    manifest = Manifest(kind, {**network, **text}, tuple(stems), SAMPLE_RATE, None, 0, {}, {})
    checkpoint.save(path, build_denoiser(network).network.state_dict(), manifest)
    return str(path)


@pytest.fixture
def nodes(tmp_path):
    """The systems of a table, as a config holds them."""
    joint = save(tmp_path / "joint.safetensors", "msdm", STEMS, 4)
    weak = {stem: save(tmp_path / f"{stem}.safetensors", "weak-msdm", [stem], 1) for stem in STEMS}
    prompted = {"checkpoint": save(tmp_path / "prompted.safetensors", "gmsdi", STEMS, 1, text=TEXT), "guidance": 2.0}
    separators = {
        "msdm": {"_target_": "baselines.msdm.MSDM", "checkpoint": joint, **SETTINGS},
        "weak": {"_target_": "baselines.msdm.WeakMSDM", "checkpoint": weak, **SETTINGS},
        "separator": {"_target_": "gmsdi.separate.PromptSeparator", **prompted, **SETTINGS},
        "extractor": {"_target_": "gmsdi.separate.PromptExtractor", **prompted, **SETTINGS},
        "gone": {"_target_": "baselines.msdm.MSDM", "checkpoint": str(tmp_path / "no.safetensors"), **SETTINGS},
        "mixture": {"_target_": "baselines.bounds.Mixture"},
        "mean": {"_target_": "gmsdi.ensemble.Mean", "of": "msdm", "samples": 4},
    }
    return OmegaConf.create({name: {"label": name.title(), "separator": node} for name, node in separators.items()})


@pytest.fixture
def batch(noise):
    mixtures = torch.from_numpy(np.concatenate([noise(seed, SAMPLES) for seed in range(CHUNKS)]))
    return Batch(mixtures, SAMPLE_RATE, (0, 1))


@pytest.mark.parametrize(
    ("name", "calls", "evaluations"),
    [
        ("msdm", CALLS, CALLS),  # one network of all sources
        ("weak", CALLS, 4 * CALLS),  # a network a stem
        ("separator", CALLS, 8 * CALLS),  # a prompt a stem, and what must not be there
        ("extractor", 4 * CALLS, 16 * CALLS),  # two sources a stem, with the same
    ],
)
def test_evaluations_are_counted(name, calls, evaluations, nodes, batch):
    found = systems.measure(config.build(nodes[name].separator), batch)
    assert (found.chunks, found.calls, found.evaluations) == (CHUNKS, calls, CHUNKS * evaluations)
    assert found.seconds > 0


@pytest.mark.parametrize("name", ["msdm", "weak", "separator", "extractor"])
def test_what_a_dry_run_foretells_is_what_is_counted(name, nodes, batch):
    (system,) = resolve_all({name: nodes[name]})
    assert evaluations(system) == systems.measure(system.build(), batch).evaluations / CHUNKS


def test_a_system_does_the_same_while_it_is_counted_and_nothing_is_counted_afterwards(nodes, batch):
    separator = config.build(nodes.weak.separator)
    with systems.counting(separator) as (counted, count):
        found = counted.separate(batch)
    before = (count.calls, count.evaluations)
    torch.testing.assert_close(separator.separate(batch), found, rtol=0, atol=0)
    assert (count.calls, count.evaluations) == before


def test_diffusion_systems_have_a_line_each_and_what_lacks_weights_says_so(nodes, batch):
    lines = list(systems.measured(nodes, batch))
    assert [line.partition(":")[0] for line in lines] == ["Msdm", "Weak", "Separator", "Extractor", "Gone"]
    for line, calls in zip(lines, (CALLS, CALLS, CALLS, 4 * CALLS), strict=False):
        assert f"; {calls} denoiser calls and " in line and "evaluations/s" in line
    assert "skipped" in lines[4] and "no.safetensors: no such checkpoint" in lines[4]


def test_the_line_is_per_chunk():
    line = systems.Speed(chunks=2, seconds=8.0, calls=40, evaluations=640, float32=1.9).line("GMSDI")
    assert line == (
        "GMSDI: 4.00 s a chunk; 40 denoiser calls and 320 network evaluations a chunk, 80.0 evaluations/s; "
        "in float32 1.90 times as long"
    )


@pytest.mark.parametrize(
    ("capabilities", "capability", "line"),
    [
        (
            {"avx512_f": True, "avx512_bf16": True, "amx_bf16": True},
            "AVX512",
            "Xeon, AVX-512, AVX-512 BF16, AMX BF16; bfloat16",
        ),
        ({"avx512_f": True, "avx512_bf16": False}, "AVX512", "Xeon, AVX-512; float32"),
        ({"avx2": True}, "AVX2", "Xeon, no AVX-512; float32"),
        (
            {"avx512_f": True, "avx512_bf16": True},
            "AVX2",
            "Xeon, AVX-512, AVX-512 BF16; float32",
        ),  # torch was told to go without
    ],
)
def test_the_processor_is_named_with_what_it_has_for_bfloat16(capabilities, capability, line, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"cpu_name": "Xeon", "l2_cache_size": 1, **capabilities})
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert systems.processor(torch.device("cpu")).replace("networks compute in ", "") == f"{line} on cpu"


def test_chunks_are_those_of_the_protocol(tmp_path, noise, write_track):
    for t in range(3):
        write_track(tmp_path / "data" / "test" / f"Track{t}", {stem: noise(10 * t + k) for k, stem in enumerate(STEMS)})
    dataset = MsdmLayout("tiny", tmp_path / "data", tmp_path / "cache").split("test")
    batch = systems.chunks(dataset, Protocol("quick", 1000, 1), "cpu")
    assert (batch.tracks, batch.starts) == (("Track0", "Track1"), (5000, 5000))  # the middle one of eleven
    for t in range(2):
        mixture = sum(noise(10 * t + k)[0, 5000:6000] for k in range(4))
        np.testing.assert_allclose(batch.mixtures[t], mixture, atol=1e-6)
