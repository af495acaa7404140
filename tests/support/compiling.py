"""torch.compile as it is, but cheap: g++ makes plain loops, and no process is started to wait for work."""

from __future__ import annotations

from contextlib import AbstractContextManager


def plain_loops() -> AbstractContextManager[object]:
    """Let no vector instructions be tried, which takes longer than a small network."""
    from torch._inductor import config  # which takes seconds

    plain: AbstractContextManager[object] = config.patch({"cpp.vec_isa_ok": False, "compile_threads": 1})
    return plain
