"""The CPU kernel, built where a C++ compiler is there: one library an instruction set, chosen when it is loaded.

Also the description on a package index: the README without what lies in the repository alone, its pictures and the
targets of its relative links. Everything else about the project stands in pyproject.toml. The libraries are optional,
built side by side, and it is said which were: without them the package computes with torch operations, and says so
once. $SPECTRAL_BUILDS names those to build, by default all.
"""

import copy
import logging
import os
import platform
import re
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

BUILDS: dict[str, list[str]] = {"baseline": []}
if platform.machine() in ("x86_64", "AMD64"):
    BUILDS |= {"avx2": ["-march=x86-64-v3"], "avx512": ["-march=x86-64-v4"]}

# Contraction off: every multiply-add is written out, so that all builds give the same bits.
COMMON = ["-std=c++17", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-exceptions", "-fno-rtti", "-g0"]


class BuildSideBySide(build_ext):
    """All builds at once, each with object files of its own: they share their source."""

    def finalize_options(self) -> None:
        """Take as many threads as there are cores, unless the command line says how many."""
        super().finalize_options()
        self.parallel = self.parallel or True

    def build_extensions(self) -> None:
        """Build, and say what came of it; what failed has been said by the compiler."""
        self.built: list[str] = []
        super().build_extensions()
        names = [extension.name.rpartition("_cpu_")[2] for extension in self.extensions]
        built = [name for name in names if name in self.built]
        failed = [name for name in names if name not in self.built]
        if built:
            self.announce(f"CPU kernel built: {', '.join(built)}", level=logging.INFO)
        if failed:
            instead = "" if built else "; the package will compute with torch operations, which is slower"
            self.warn(f"CPU kernel not built: {', '.join(failed)}{instead}")

    def build_extension(self, extension: Extension) -> None:
        """Build one of them beside the others."""
        name = extension.name.rpartition("_cpu_")[2]
        alone = copy.copy(self)
        alone.build_temp = os.path.join(self.build_temp, name)
        super(BuildSideBySide, alone).build_extension(extension)
        self.built.append(name)


PICTURE = re.compile(r"^!\[[^\]]*\]\([^)]*\)\n\n(?:\*[^*]+\*\n\n)?", re.MULTILINE)
"""A picture, and what is said below it."""
RELATIVE_LINK = re.compile(r"\[([^\]]*)\]\((?!https?://)[^)]*\)")


def described(readme: str) -> str:
    """Return the README as an index shows it."""
    return RELATIVE_LINK.sub(r"\1", PICTURE.sub("", readme))


setup(
    cmdclass={"build_ext": BuildSideBySide},
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
