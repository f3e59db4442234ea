"""What of the GPU's measurement needs none: the count of operations, the sweep, the table and the file, on a small network."""

import json
import math
from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.perf import gpu
from benchmarks.perf.networks import CHUNK, MSDM
from gmsdi.denoiser import Denoiser
from gmsdi.unet import UNet1d, UNetConfig

SMALL = UNetConfig(
    in_channels=4,
    channels=16,
    patch_factor=4,
    multipliers=(1, 1, 2),
    factors=(2, 2),
    num_blocks=(1, 1),
    attentions=(False, False),
    attention_heads=2,
    attention_features=4,
)
SAMPLES = 4 * SMALL.stride
ON_CPU = [mode for mode in gpu.MODES if mode.prepare is gpu.eager]


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.setattr(gpu, "LEAST", 1e-4)
    return gpu.Bench.of(SMALL, SAMPLES, "cpu", most=2, matmul=8)


# Operations


def test_an_evaluation_of_msdms_network_is_245_gflop():
    assert gpu.count_flops(MSDM, CHUNK) == pytest.approx(244.87e9, rel=1e-4)


def test_the_count_is_that_of_a_real_evaluation_but_for_fused_attention():
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        Denoiser(UNet1d(SMALL))(torch.randn(1, 4, SAMPLES), torch.tensor([0.1]))
    queries_keys_values = 2 * 2 * (SAMPLES // SMALL.stride) ** 2 * SMALL.attention_heads * SMALL.attention_features
    assert gpu.count_flops(SMALL, SAMPLES) - counter.get_total_flops() == queries_keys_values  # of the bottleneck


def test_seconds_and_flops_make_the_rate(bench, monkeypatch):
    monkeypatch.setattr(gpu, "seconds", lambda work, device: 0.5)
    row = bench.measure(gpu.Mode("fp32", gpu.FP32), 2)
    assert row.seconds == 0.25
    assert row.tflops == pytest.approx(4e-12 * gpu.count_flops(SMALL, SAMPLES))
    assert row.share == pytest.approx(1e12 * row.tflops / bench.peaks["fp32"])
    assert gpu.peak(gpu.FP32, 8, "cpu") == 2 * 8**3 / 0.5


def test_a_second_is_a_median_of_rounds_after_a_warm_up(monkeypatch):
    clock, calls = [0.0], [0]
    monkeypatch.setattr(gpu.time, "perf_counter", lambda: clock[0])

    def work():
        calls[0] += 1
        clock[0] += 100.0 if calls[0] <= gpu.WARM_UP else 0.1

    assert gpu.seconds(work, "cpu") == pytest.approx(0.1)
    assert calls[0] == gpu.WARM_UP + 1 + gpu.ROUNDS * math.ceil(gpu.LEAST / 0.1)


# Modes


def test_modes_that_a_cpu_has_agree_with_fp32(bench):
    assert len(ON_CPU) > 2
    for mode in ON_CPU:
        row = bench.measure(mode, 2)
        if mode.precision is gpu.BF16:
            assert 1e-5 < row.difference < 0.05
        else:
            assert row.difference < 1e-5


def test_settings_hold_for_their_time_alone():
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark
    for precision in (gpu.FP32, gpu.TF32, gpu.BF16):
        with gpu.settings(precision, "cpu", autotune=True):
            assert (matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark) == (precision.tf32, precision.tf32, True)
            assert (torch.ones(1, 1) @ torch.ones(1, 1)).dtype is precision.dtype
            assert torch.is_inference_mode_enabled()
    assert (matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark) == before


def test_the_network_can_be_compiled_whole_for_one_shape(bench):
    evaluate = torch.compile(bench.denoiser, dynamic=False, fullgraph=True, backend="eager")
    with torch.inference_mode():
        found = evaluate(bench.signals[:1], torch.full((1,), gpu.SIGMA))
    torch.testing.assert_close(found, bench.expected)


# The sweep and what is told of it


def row(mode, batch):
    return gpu.Row(mode.name, batch, 0.01234, 123.4, 0.56, 1.5e-3, 20.0)


def test_a_mode_that_fails_goes_no_further_and_stops_no_other():
    def measure(mode, batch):
        if (mode.name, batch) == ("bf16", 2):
            raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 3 GiB")
        return row(mode, batch)

    modes = [replace(mode, batches=(1, 2, 4)) for mode in gpu.MODES if mode.name in ("bf16", "bf16, compiled")]
    found = list(gpu.sweep(modes, measure))
    failure = gpu.Failure("bf16", 2, "OutOfMemoryError: CUDA out of memory. Tried to allocate 3 GiB")
    assert found == [row(modes[0], 1), failure, *(row(modes[1], batch) for batch in (1, 2, 4))]


def test_a_defect_is_no_failure_of_a_mode():
    def measure(mode, batch):
        raise TypeError("ours")

    with pytest.raises(TypeError):
        list(gpu.sweep(gpu.MODES, measure))


def test_lines_stand_under_their_headings():
    line = row(gpu.MODES[-1], 64).line()
    assert len(line) == len(gpu.HEADINGS)
    assert " ".join(line.split()) == "bf16, compiled, graph 64 12.34 123.4 56% 20.0 1.5e-03"
    for heading, entry in (("batch", "64"), ("TFLOP/s", "123.4"), ("GiB", "20.0")):
        assert gpu.HEADINGS.index(heading) + len(heading) == line.index(entry) + len(entry)
    assert gpu.Failure("bf16", 64, "x" * 200).line().split() == ["bf16", "64", "x" * 80]


def test_everything_is_in_the_file(bench, tmp_path):
    found = [row(gpu.MODES[0], 1), gpu.Failure("bf16", 2, "no memory")]
    gpu.write(tmp_path / "new" / "gpu.json", bench, found)
    content = json.loads((tmp_path / "new" / "gpu.json").read_text())
    assert content["flop_per_evaluation"] == gpu.count_flops(SMALL, SAMPLES)
    assert content["samples"] == SAMPLES and set(content["peak_flops"]) == {"fp32", "tf32", "bf16"}
    assert gpu.Row(**content["rows"][0]) == found[0]
    assert gpu.Failure(**content["failures"][0]) == found[1]


def test_without_a_gpu_there_is_one_line(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    gpu.report()
    assert capsys.readouterr().out == "gpu: there is no CUDA device here\n"
