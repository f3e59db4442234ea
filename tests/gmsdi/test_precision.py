"""Where networks compute in bfloat16."""

import pytest
import torch

from gmsdi import precision

CPU = torch.device("cpu")


@pytest.mark.parametrize("has", [True, False])
@pytest.mark.parametrize("wanted", [True, False])
def test_bfloat16_where_it_is_wanted_and_the_device_has_it(
    wanted: bool, has: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "computes_bfloat16", lambda device: has)
    x = torch.ones(2, 2)
    with precision.reduced(CPU, wanted):
        assert (x @ x).dtype == (torch.bfloat16 if wanted and has else torch.float32)


@pytest.mark.parametrize(
    ("capability", "features", "has"),
    [
        ("AVX512", {"avx512_bf16": True}, True),
        ("AVX512", {"amx_bf16": True, "avx512_bf16": False}, True),
        ("AVX512", {"avx512_f": True, "avx512_bf16": False}, False),  # would imitate it
        ("AVX2", {"avx512_bf16": True}, False),  # torch was told to do without
        ("DEFAULT", {"architecture": "arm"}, False),
    ],
)
def test_a_cpu_has_bfloat16_where_torch_may_use_instructions_for_it(
    capability: str, features: dict, has: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features)
    assert precision.computes_bfloat16(CPU) == has
