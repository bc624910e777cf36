"""Masking in C; masking.py says what it does, and is used where this was not compiled."""

from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport uint64_t
from libc.string cimport memcpy

__all__ = ["apply_mask", "copy", "unmask", "unmask_text"]


cdef void mask(char *target, const char *source, Py_ssize_t size, const char *key) noexcept:
    # Words of 8 bytes, by memcpy because they need not be aligned: the compiler makes vector
    # instructions of this loop.
    cdef uint64_t word, double_key
    cdef Py_ssize_t i, words = size // 8
    memcpy(&double_key, key, 4)
    memcpy(<char *>&double_key + 4, key, 4)
    for i in range(words):
        memcpy(&word, source + 8 * i, 8)
        word ^= double_key
        memcpy(target + 8 * i, &word, 8)
    for i in range(8 * words, size):
        target[i] = source[i] ^ key[i & 3]


cpdef bytes apply_mask(object data, object key, Py_ssize_t start, Py_ssize_t stop):
    cdef bytes copied_key = bytes(key)
    cdef const char *source
    if not 0 <= start <= stop <= len(data) or len(copied_key) != 4:
        raise ValueError("there is no such part, or the key is not 4 bytes")
    if isinstance(data, bytearray):
        source = PyByteArray_AS_STRING(data)
    else:
        source = PyBytes_AS_STRING(<bytes?>data)
    cdef bytes result = PyBytes_FromStringAndSize(NULL, stop - start)
    mask(PyBytes_AS_STRING(result), source + start, stop - start, PyBytes_AS_STRING(copied_key))
    return result


cpdef bytes unmask(bytearray data, Py_ssize_t pos, Py_ssize_t stop):
    if not 0 <= pos <= stop - 4 <= len(data) - 4:
        raise ValueError("there is no such part")
    cdef const char *key = PyByteArray_AS_STRING(data) + pos
    cdef bytes result = PyBytes_FromStringAndSize(NULL, stop - pos - 4)
    mask(PyBytes_AS_STRING(result), key + 4, stop - pos - 4, key)
    return result


cpdef str unmask_text(bytearray data, Py_ssize_t pos, Py_ssize_t stop):
    if not 0 <= pos <= stop - 4 <= len(data) - 4:
        raise ValueError("there is no such part")
    # In place, where the text is decoded from without another copy.
    cdef char *key = PyByteArray_AS_STRING(data) + pos
    mask(key + 4, key + 4, stop - pos - 4, key)
    return PyUnicode_DecodeUTF8(key + 4, stop - pos - 4, NULL)


cpdef bytes copy(bytearray data, Py_ssize_t start, Py_ssize_t stop):
    if not 0 <= start <= stop <= len(data):
        raise ValueError("there is no such part")
    return PyBytes_FromStringAndSize(PyByteArray_AS_STRING(data) + start, stop - start)
