"""MSDM's network on a GPU by precision, compilation, CUDA graphs and batch size, beside the card's speed in a product of matrices."""

import json
import math
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.perf.networks import CHUNK, MSDM
from gmsdi import audio
from gmsdi.denoiser import Denoiser
from gmsdi.errors import one_line
from gmsdi.unet import UNet1d, UNetConfig

OUT = Path("results/bench-gpu.json")

BATCHES = (1, 2, 4, 8, 16, 32, 64)
FEW = (1, 8)
"""For what is compiled anew for each, which takes a minute."""

SIGMA = 0.2
"""The noise level that the network is asked at; speed does not depend on it."""

MATMUL = 8192
"""Rows and columns of the product that stands for the card's peak."""

WARM_UP = 3
LEAST = 0.5
"""The least seconds of a measurement's round."""

ROUNDS = 3

Work = Callable[[], Tensor]
"""An evaluation, or another computation, with its inputs."""

Prepare = Callable[[Callable[..., Tensor], Sequence[Tensor]], Work]


@dataclass(frozen=True)
class Precision:
    """The precision of products: ``dtype`` under autocast, float32 with or without TF32."""

    name: str
    tf32: bool
    dtype: torch.dtype


FP32 = Precision("fp32", False, torch.float32)
TF32 = Precision("tf32", True, torch.float32)
BF16 = Precision("bf16", True, torch.bfloat16)


@contextmanager
def settings(precision: Precision, device: str, autotune: bool = False) -> Iterator[None]:
    """Compute in a precision, bfloat16 as in ``gmsdi.separate``; ``autotune`` lets cuDNN search for its fastest kernels."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark
    matmul.allow_tf32 = cudnn.allow_tf32 = precision.tf32
    cudnn.benchmark = autotune
    reduced = precision.dtype != torch.float32
    try:
        # a cached cast would be missing from a graph
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=reduced, cache_enabled=False):
            yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = before


def eager(evaluate: Callable[..., Tensor], inputs: Sequence[Tensor]) -> Work:
    """As it is."""
    return lambda: evaluate(*inputs)


def compiled(evaluate: Callable[..., Tensor], inputs: Sequence[Tensor]) -> Work:
    """Compiled for these shapes alone."""
    torch.compiler.reset()  # each batch size is compiled anew; torch gives up on a function with many
    return eager(torch.compile(evaluate, dynamic=False), inputs)


def graphed(evaluate: Callable[..., Tensor], inputs: Sequence[Tensor]) -> Work:
    """As a CUDA graph: all kernels are launched at once. Its output is overwritten by the next call."""
    return _capture(eager(evaluate, inputs))


def compiled_graphed(evaluate: Callable[..., Tensor], inputs: Sequence[Tensor]) -> Work:
    """Compiled, and then as a CUDA graph."""
    return _capture(compiled(evaluate, inputs))


def _capture(work: Work) -> Work:
    side = torch.cuda.Stream()  # what only first calls do must not be captured
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = work()

    def replay() -> Tensor:
        graph.replay()
        return output

    return replay


@dataclass(frozen=True)
class Mode:
    """A way to evaluate the network."""

    name: str
    precision: Precision
    prepare: Prepare = eager
    autotune: bool = False
    batches: tuple[int, ...] = BATCHES


MODES = (
    Mode("fp32", FP32),
    Mode("fp32, TF32", TF32),
    Mode("bf16", BF16),
    Mode("bf16, cuDNN autotuned", BF16, autotune=True),
    Mode("bf16, graph", BF16, graphed),
    Mode("bf16, compiled", BF16, compiled, batches=FEW),
    Mode("bf16, compiled, graph", BF16, compiled_graphed, batches=FEW),
)


@dataclass(frozen=True)
class Row:
    """A mode at a batch size."""

    mode: str
    batch: int
    seconds: float  # of an evaluation of one chunk
    tflops: float  # achieved, 1e12 operations a second
    share: float  # of the same precision's peak
    difference: float  # the largest, between the first item's estimate and that in fp32
    gib: float  # of the card's memory, at most

    def line(self) -> str:
        """One line of the table."""
        return (
            f"{self.mode:<24}{self.batch:>5}{1000 * self.seconds:>15.2f}{self.tflops:>9.1f}{self.share:>9.0%}"
            f"{self.gib:>8.1f}{self.difference:>12.1e}"
        )


HEADINGS = (
    f"{'':<24}{'batch':>5}{'ms/evaluation':>15}{'TFLOP/s':>9}{'of peak':>9}{'GiB':>8}{'from fp32':>12}"  # as `line`
)


@dataclass(frozen=True)
class Failure:
    """A mode that failed at a batch size."""

    mode: str
    batch: int
    reason: str

    def line(self) -> str:
        """One line of the table."""
        return f"{self.mode:<24}{self.batch:>5}  {self.reason[:80]}"


def report() -> None:
    """All modes and batch sizes that the card holds, printed as they are measured, and written to ``OUT``."""
    if not torch.cuda.is_available():
        print("gpu: there is no CUDA device here")
        return
    bench = Bench.of(MSDM, CHUNK, "cuda", max(BATCHES))
    print(
        f"MSDM's network on {torch.cuda.get_device_name()}, chunks of {CHUNK} samples, {bench.flops / 1e9:.1f} GFLOP each"
    )
    print(", ".join(f"{name} peak {peak / 1e12:.1f} TFLOP/s" for name, peak in bench.peaks.items()))
    print(HEADINGS)
    found = []
    for entry in sweep(MODES, bench.on_card):
        print(entry.line(), flush=True)
        found.append(entry)
    write(OUT, bench, found)
    print(f"wrote {OUT}")


@dataclass(frozen=True)
class Bench:
    """A network, what it is measured on, and what its results are compared with."""

    denoiser: Denoiser
    signals: Tensor  # [most items of a batch, C, T]
    flops: int  # of an evaluation of one item
    peaks: dict[str, float]  # FLOP/s of a product of matrices, by precision
    expected: Tensor  # [1, C, T], the first item's estimate in fp32
    device: str

    @classmethod
    def of(cls, config: UNetConfig, samples: int, device: str, most: int, matmul: int = MATMUL) -> "Bench":
        """The network of a configuration, with random weights, on noise; the peaks are measured."""
        torch.manual_seed(0)
        with torch.device(device):
            denoiser = Denoiser(UNet1d(config)).eval().requires_grad_(False)
        signals = SIGMA * torch.randn(most, config.in_channels, samples, generator=torch.Generator().manual_seed(0))
        first = signals[:1].to(device)
        with settings(FP32, device):
            expected = denoiser(first, first.new_full((1,), SIGMA))
        peaks = {precision.name: peak(precision, matmul, device) for precision in (FP32, TF32, BF16)}
        return cls(denoiser, signals, count_flops(config, samples), peaks, expected, device)

    def measure(self, mode: Mode, batch: int) -> Row:
        """A mode on the first ``batch`` signals."""
        x = self.signals[:batch].to(self.device)
        with settings(mode.precision, self.device, mode.autotune):
            work = mode.prepare(self.denoiser, (x, x.new_full((batch,), SIGMA)))
            taken = seconds(work, self.device)
            difference = float((work()[:1] - self.expected).abs().max())
        rate = batch * self.flops / taken
        return Row(
            mode.name, batch, taken / batch, rate / 1e12, rate / self.peaks[mode.precision.name], difference, 0.0
        )

    def on_card(self, mode: Mode, batch: int) -> Row:
        """``measure``, with the memory that it took."""
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        row = self.measure(mode, batch)
        return replace(row, gib=torch.cuda.max_memory_allocated() / 2**30)


def sweep(modes: Iterable[Mode], measure: Callable[[Mode, int], Row]) -> Iterator[Row | Failure]:
    """Every mode at its batch sizes, which grow. A mode that fails, such as for lack of memory, ends there; the others go on."""
    for mode in modes:
        for batch in mode.batches:
            try:
                yield measure(mode, batch)
            except RuntimeError as error:  # by torch or its compiler, out of memory or not
                yield Failure(mode.name, batch, f"{type(error).__name__}: {one_line(error)}")
                break


def count_flops(config: UNetConfig, samples: int) -> int:
    """The floating-point operations of one evaluation of one signal: 2 for each product that is added up.

    Counted on shapes alone, where attention is plain products; fused attention on a CPU would not be counted.
    """
    with torch.device("meta"):
        denoiser = Denoiser(UNet1d(config))
        x, sigma = torch.empty(1, config.in_channels, samples), torch.empty(1)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        denoiser(x, sigma)
    return int(counter.get_total_flops())


def peak(precision: Precision, size: int, device: str) -> float:
    """FLOP/s of a product of two square matrices of the precision's own type."""
    a, b = (torch.randn(size, size, device=device).to(precision.dtype) for _ in range(2))
    with settings(precision, device):
        return 2 * size**3 / seconds(lambda: a @ b, device)


def seconds(work: Work, device: str) -> float:
    """Seconds of one call, the median over rounds. A round makes enough calls to last ``LEAST``, and waits for the last alone."""
    synchronize = torch.get_device_module(device).synchronize

    def last(calls: int) -> float:
        synchronize()
        began = time.perf_counter()
        for _ in range(calls):
            work()
        synchronize()
        return time.perf_counter() - began

    last(WARM_UP)
    calls = math.ceil(LEAST / last(1))
    return statistics.median(last(calls) / calls for _ in range(ROUNDS))


def write(path: Path, bench: Bench, found: Iterable[Row | Failure]) -> None:
    """Everything as json: seconds, FLOP and FLOP/s, and what was measured on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with audio.atomic(path) as temporary:
        temporary.write_text(json.dumps(_content(bench, list(found)), indent=2) + "\n")


def _content(bench: Bench, found: list[Row | Failure]) -> dict[str, Any]:
    cuda = torch.cuda.is_available()
    return {
        "device": torch.cuda.get_device_name() if cuda else platform.machine(),
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d"),
        "samples": bench.signals.shape[-1],
        "flop_per_evaluation": bench.flops,
        "peak_flops": bench.peaks,
        "rows": [asdict(entry) for entry in found if isinstance(entry, Row)],
        "failures": [asdict(entry) for entry in found if isinstance(entry, Failure)],
    }
