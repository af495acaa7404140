"""The CPU kernel, built where a C++ compiler is there: one library an instruction set, chosen when it is loaded.

Everything else about the project stands in pyproject.toml. The libraries are optional: without them the package
computes with torch operations, and says so once. $SPECTRAL_BUILDS names those to build, by default all.
"""

import os
import platform

from setuptools import Extension, setup

BUILDS: dict[str, list[str]] = {"baseline": []}
if platform.machine() in ("x86_64", "AMD64"):
    BUILDS |= {"avx2": ["-march=x86-64-v3"], "avx512": ["-march=x86-64-v4"]}

# Contraction off: every multiply-add is written out, so that all builds give the same bits.
COMMON = ["-std=c++17", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-exceptions", "-fno-rtti", "-g0"]

setup(
    ext_modules=[
        Extension(
            f"spectral_prep.kernel._cpu_{name}",
            ["spectral_prep/kernel/cpu.cpp"],
            depends=[f"spectral_prep/kernel/{header}.h" for header in ("spectral", "transform", "lanes", "strip")],
            extra_compile_args=[*COMMON, *flags],
            language="c++",
            optional=True,
        )
        for name, flags in BUILDS.items()
        if name in os.environ.get("SPECTRAL_BUILDS", name).split()
    ]
)
