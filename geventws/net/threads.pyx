"""Which native thread runs, in C; see threads.py."""

from cpython.pythread cimport PyThread_get_thread_ident

__all__ = ["get_ident"]


cpdef unsigned long get_ident() noexcept:
    return PyThread_get_thread_ident()
