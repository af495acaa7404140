"""The CPU kernel, built where a C++ compiler is there: one library an instruction set, chosen when it is loaded.

Also the description on a package index: the README without what lies in the repository alone, its pictures and the
targets of its relative links. Everything else about the project stands in pyproject.toml. The libraries are optional:
without them the package computes with torch operations, and says so once. $SPECTRAL_BUILDS names those to build, by
default all.
"""

import os
import platform
import re
from pathlib import Path

from setuptools import Extension, setup

BUILDS: dict[str, list[str]] = {"baseline": []}
if platform.machine() in ("x86_64", "AMD64"):
    BUILDS |= {"avx2": ["-march=x86-64-v3"], "avx512": ["-march=x86-64-v4"]}

# Contraction off: every multiply-add is written out, so that all builds give the same bits.
COMMON = ["-std=c++17", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-exceptions", "-fno-rtti", "-g0"]

PICTURE = re.compile(r"^!\[[^\]]*\]\([^)]*\)\n\n(?:\*[^*]+\*\n\n)?", re.MULTILINE)
"""A picture, and what is said below it."""
RELATIVE_LINK = re.compile(r"\[([^\]]*)\]\((?!https?://)[^)]*\)")


def described(readme: str) -> str:
    """Return the README as an index shows it."""
    return RELATIVE_LINK.sub(r"\1", PICTURE.sub("", readme))


setup(
    long_description=described(Path(__file__).with_name("README.md").read_text(encoding="utf-8")),
    long_description_content_type="text/markdown",
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
    ],
)
