"""The programs in C, and their compiler."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys

__all__ = ["compile_programs"]

SOURCES = pathlib.Path(__file__).parent
PROGRAMS = ["load", "floor", "stream"]


def compile_programs(folder: pathlib.Path) -> None:
    """Compile the load generator, the floor, and the streamer into a folder."""
    compiler = os.environ.get("CC", "cc")
    if shutil.which(compiler) is None:
        sys.exit(
            f"The benchmark needs a C compiler for its load generator, and there is no {compiler}: "
            "install one (on Debian and Ubuntu: apt-get install gcc libc6-dev), or name it in CC."
        )
    for program in PROGRAMS:
        source = SOURCES / f"{program}.c"
        command = [compiler, "-O3", "-Wall", "-o", str(folder / program), str(source)]
        if subprocess.run(command).returncode:
            sys.exit(f"{compiler} could not compile {source.name}; what it says stands above.")
