"""Compiles the hot path, where that is possible; all else is declared in setup.cfg.

The modules below are ordinary Python; the ``.pxd`` file beside each gives it C types. Where
there is no C compiler, or ``GEVENTWS_PURE_PYTHON=1`` is set, they run as they are.
"""

import contextlib
import os
import sys

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

COMPILED = [
    "core/masking.pyx",
    "core/payload.pyx",
    "core/codec.py",
    "core/journal.py",
    "core/messages.py",
    "core/output.py",
    "core/protocol.py",
    "net/threads.pyx",
    "net/hubs.py",
    "net/transport.py",
    "net/syscalls.pyx",
    "net/inbox.py",
    "net/stream.py",
    "net/link.py",
    "net/heartbeat.py",
    "net/endpoint.py",
    "net/receiving.py",
    "net/sending.py",
    "net/broadcast.py",
]


# Nothing else refers to its types, and there are systems without `recv`.
ALONE = "net/syscalls.pyx"


class BuildWherePossible(build_ext):
    """Compiles all modules or none: they refer to the layout of each other's classes."""

    def finalize_options(self) -> None:
        """Use all processors, unless told otherwise: it takes two minutes on one."""
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()

    def run(self) -> None:
        """Compile; where that fails, say so, and leave plain Python."""
        try:
            super().run()
        except Exception as exc:
            print(f"geventws: not compiled, plain Python will run: {exc}", file=sys.stderr)
            for extension in self.extensions:
                with contextlib.suppress(FileNotFoundError):
                    os.remove(self.get_ext_fullpath(extension.name))
            self.extensions = []


def extensions() -> list[Extension]:
    """Return what is to be compiled."""
    if os.environ.get("GEVENTWS_PURE_PYTHON") == "1":
        return []
    from Cython.Build import cythonize

    modules = [
        Extension(
            "geventws." + os.path.splitext(path)[0].replace("/", "."),
            ["geventws/" + path],
            extra_compile_args=[] if os.name == "nt" else ["-O3"],
            optional=path == ALONE,
        )
        for path in COMPILED
    ]
    # Annotations are for readers and mypy; the C types stand in the .pxd files.
    directives = {"annotation_typing": False, "language_level": 3}
    # By force: Cython does not see that a module depends on the .pxd files of others, and a
    # class of yesterday's layout would crash.
    return cythonize(modules, build_dir="build", compiler_directives=directives, force=True)


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildWherePossible})
