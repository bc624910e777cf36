"""The payload of a frame that arrives in parts, in C; see payload.py."""

from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.ref cimport Py_XDECREF

from geventws.core.masking cimport mask

cdef extern from "Python.h":
    PyObject *new_bytes "PyBytes_FromStringAndSize"(char *data, Py_ssize_t size) except NULL
    int resize_bytes "_PyBytes_Resize"(PyObject **bytes, Py_ssize_t size) except -1
    char *start_of "PyBytes_AS_STRING"(PyObject *bytes)
    Py_ssize_t size_of "PyBytes_GET_SIZE"(PyObject *bytes)

__all__ = ["Payload"]

# How many times what has arrived is allocated at most: a header may announce anything. The
# first read of a megabyte mostly brings more than an eighth of it, and nothing is moved.
cdef Py_ssize_t AHEAD = 8


cdef class Payload:
    def __init__(self, long long size, bytes key):
        if self._target != NULL or len(key) not in (0, 4):
            raise ValueError("make another payload, with a key of 4 bytes or none")
        self.missing = size
        self._key = key
        self._target = new_bytes(NULL, 0)

    def __dealloc__(self):
        Py_XDECREF(self._target)

    @property
    def last(self):
        return PyBytes_FromStringAndSize(start_of(self._target) + self._have - self._last, self._last)

    cpdef Py_ssize_t add(self, bytearray data, Py_ssize_t start, Py_ssize_t end) except -1:
        if self._target == NULL or not 0 <= start <= end <= len(data):
            raise ValueError("there is no such part")
        cdef Py_ssize_t i, size = min(self.missing, end - start), room = size_of(self._target)
        cdef char key[4]
        if room < self._have + size:
            room = min(self._have + self.missing, AHEAD * (self._have + size) + 1024)
            if self._have:
                resize_bytes(&self._target, room)
            else:
                Py_XDECREF(self._target)
                self._target = NULL
                self._target = new_bytes(NULL, room)
        if self._key:
            for i in range(4):
                key[i] = PyBytes_AS_STRING(self._key)[(self._have + i) & 3]
        else:
            key[0] = key[1] = key[2] = key[3] = 0
        mask(start_of(self._target) + self._have, PyByteArray_AS_STRING(data) + start, size, key)
        self._have += size
        self._last = size
        self.missing -= size
        return start + size

    cpdef bytes whole(self):
        if self._target == NULL or self.missing:
            raise ValueError("the payload is not whole, or was taken")
        result = <bytes>self._target
        Py_XDECREF(self._target)
        self._target = NULL
        return result
