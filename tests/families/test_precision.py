import pytest
import torch

from starvsr.errors import OptionError
from starvsr.families.precision import choose_dtype


def test_bfloat16_is_refused_where_instructions_are_forbidden_that_onednn_goes_on_using(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    with pytest.raises(OptionError, match="ATEN_CPU_CAPABILITY"):
        choose_dtype("bf16", "cpu")
    assert choose_dtype("auto", "cpu") == torch.float32
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    assert choose_dtype("bf16", "cpu") == torch.bfloat16
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert choose_dtype("bf16", "cpu") == torch.bfloat16
