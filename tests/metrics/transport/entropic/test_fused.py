"""The Triton kernels without a GPU: in Triton's interpreter, in a process of its own, and built for a GPU."""

import os
import subprocess
import sys
import textwrap

import pytest
import torch

from metrics.transport import sinkhorn_divergence
from metrics.transport.entropic import fused

pytestmark = pytest.mark.skipif(not fused.FOUND, reason="Triton is not installed")


def run(script, **environment):
    """Run a script without the hooks of these tests, which decorate what Triton reads as source."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script)],
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_a_pass_is_a_softmax_and_its_column_sums():
    """Against float64; sizes on and off the tiles' edges. z is of order 10², its rounding in float32 10⁻⁵."""
    run(
        """
        import torch
        from metrics.transport.entropic.fused import fused_pass

        generator = torch.Generator().manual_seed(0)
        for n, m, d in ((70, 50, 3), (130, 200, 70), (64, 128, 32), (1, 1, 1)):
            x, y = (3 * torch.randn(k, d, generator=generator) for k in (n, m))
            column = 20 * torch.randn(m, generator=generator) - y.square().sum(1) / 2
            a = torch.rand(n, generator=generator)
            sums, c = fused_pass(x, y, column, a)
            z = x.double() @ y.double().T + column.double()
            torch.testing.assert_close(sums, z.logsumexp(1), rtol=1e-6, atol=1e-4)
            torch.testing.assert_close(c, z.softmax(1).T @ a.double(), rtol=1e-4, atol=1e-6)
        """,
        TRITON_INTERPRET="1",
    )


def test_the_streaming_solver_is_the_same_with_it():
    run(
        """
        import torch
        from metrics.transport import sinkhorn_divergence
        from metrics.transport.entropic import streaming

        generator = torch.Generator().manual_seed(0)
        x, y = (torch.randn(k, 3, generator=generator) for k in (60, 50))
        want = sinkhorn_divergence(x, 1 + y, memory=1)
        passes, fused_pass = [], streaming.fused_pass

        def counted(*args):
            passes.append(args)
            return fused_pass(*args)

        streaming.fuses, streaming.fused_pass = lambda x: x.dtype == torch.float32, counted
        torch.testing.assert_close(sinkhorn_divergence(x, 1 + y, memory=1), want, rtol=1e-5, atol=0)
        assert passes
        """,
        TRITON_INTERPRET="1",
    )


@pytest.mark.slow
def test_the_kernels_compile_for_a_gpu():
    """To machine code for compute capability 9.0, with nothing spilled from the registers."""
    run(
        """
        import triton
        from triton.backends.compiler import GPUTarget
        from triton.compiler import ASTSource
        from metrics.transport.entropic import fused, fused_kernels

        for kernel in (fused_kernels.row_maxima_and_sums, fused_kernels.column_sums):
            types = {name: "*fp32" for name in kernel.arg_names}
            types |= {"n": "i32", "m": "i32", "d": "i32", "R": "constexpr", "C": "constexpr", "D": "constexpr"}
            types |= {"sums": "*fp64"} if "sums" in types else {}
            sizes = {"R": fused.ROWS, "C": fused.COLUMNS, "D": fused.DEPTH}
            source = ASTSource(fn=kernel, signature=types, constexprs=sizes)
            built = triton.compile(source, target=GPUTarget("cuda", 90, 32))
            assert ".local" not in built.asm["ptx"]
            assert built.asm["cubin"]
        """
    )


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_as_on_the_cpu(gen):
    x, y = (torch.randn(k, 20, generator=gen) for k in (3000, 2000))
    want = sinkhorn_divergence(x, 1 + y)
    got = sinkhorn_divergence(x.cuda(), 1 + y.cuda(), memory=1)
    torch.testing.assert_close(got.cpu(), want, rtol=1e-4, atol=0)
