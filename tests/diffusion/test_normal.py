import os
import subprocess
import sys

import pytest
import torch

from starvsr.diffusion.normal import SameNormalEverywhere, standard_normal

DIGEST = """
import hashlib, torch
from starvsr.diffusion.normal import standard_normal
generator = torch.Generator().manual_seed(7)
values = torch.cat([standard_normal((n,), generator=generator) for n in (3, 16, 35, 4096)])
print(hashlib.sha256(values.numpy().tobytes()).hexdigest())
"""


@pytest.mark.parametrize("shape", [(3,), (16,), (17,), (2, 35), (4, 30, 50)])
def test_the_values_are_those_of_torch_and_the_generator_moves_on_alike(shape):
    ours, theirs = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    torch.testing.assert_close(
        standard_normal(shape, generator=ours), torch.randn(shape, generator=theirs), atol=4e-6, rtol=0
    )
    assert torch.equal(torch.rand(5, generator=ours), torch.rand(5, generator=theirs))


def test_other_packages_draw_by_the_same_rule_inside_the_mode_only():
    def drawn(**options):
        return torch.randn((40,), generator=torch.Generator().manual_seed(2), **options)

    with SameNormalEverywhere():
        inside, double, global_one = drawn(), drawn(dtype=torch.float64), torch.randn(3)
    assert torch.equal(inside, standard_normal((40,), generator=torch.Generator().manual_seed(2)))
    assert double.dtype == torch.float64 and global_one.shape == (3,)
    torch.testing.assert_close(drawn(), inside, atol=4e-6, rtol=0)


def test_every_instruction_set_gives_the_same_bytes():
    digests = {
        subprocess.run(
            [sys.executable, "-c", DIGEST],
            env=os.environ | {"ATEN_CPU_CAPABILITY": capability},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for capability in ("default", "avx2")
    }
    assert len(digests) == 1
