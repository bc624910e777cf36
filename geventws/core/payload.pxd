from cpython.object cimport PyObject

cdef class Payload:
    cdef readonly long long missing
    # The bytes object under construction: nobody else has it. How much of it is filled, by
    # the last part, too.
    cdef PyObject *_target
    cdef Py_ssize_t _have, _last
    cdef bytes _key

    cpdef Py_ssize_t add(self, bytearray data, Py_ssize_t start, Py_ssize_t end) except -1
    cpdef bytes whole(self)
