"""Which device a config means, and whether this machine has it (a login node often has no GPU, and does not need one)."""

import os
import platform

from gmsdi.errors import BadInputError


def chosen(wanted: str) -> str:
    """``auto`` is ``cuda`` where there is a GPU, ``cpu`` elsewhere."""
    import torch

    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return wanted


def usable(wanted: str) -> str:
    """The chosen device; ``BadInputError`` unless something can be computed on it."""
    import torch

    device = chosen(wanted)
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise BadInputError(f"device={wanted}: {str(error).splitlines()[0]}") from None
    return device


def processor(device: str) -> str:
    """What computes there, for a person: the GPU's name, or the CPU's and how many of its threads are used."""
    import torch

    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return f"{cpu_name()}, {torch.get_num_threads()} of {os.cpu_count()} threads"


def cpu_name() -> str:
    """What the CPU calls itself; where it has no name, its kind."""
    import torch

    return torch.cpu.get_capabilities().get("cpu_name") or platform.processor() or platform.machine()


def cores() -> int:
    """The CPU cores that this process may use: within a Slurm job or a container they are few of the machine's."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
