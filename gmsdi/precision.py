"""Where networks compute in bfloat16."""

import torch


def reduced(device: torch.device, wanted: bool) -> torch.autocast:
    """The context in which networks compute in bfloat16 where it is ``wanted`` and ``device`` has instructions for it.

    Elsewhere they stay in float32, which is more exact and takes less time than to imitate bfloat16: a tenth of it where a CPU has no
    more than AVX2. So bfloat16 is the least precision that is asked for. It changes the estimates of the small networks by about 1 %
    of their RMS, a row of MiniSlakh's table by at most 0.012 dB in the mean of the stems and 0.033 dB in one of them. Gibbs steps
    go on from their own estimates and multiply that: 0.033 and 0.14 dB after 8 of Demucs.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=wanted and computes_bfloat16(device))


def computes_bfloat16(device: torch.device) -> bool:
    """Whether ``device`` has instructions for bfloat16: of a CPU, AVX-512's or AMX, as far as torch may use them."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.backends.cpu.get_cpu_capability() == "AVX512" and bool({"avx512_bf16", "amx_bf16"} & features())


def features() -> set[str]:
    """What this CPU can do, by torch's names."""
    return {name for name, value in torch.cpu.get_capabilities().items() if value is True}
