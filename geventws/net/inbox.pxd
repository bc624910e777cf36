cimport cython

cdef class Inbox:
    cdef public Py_ssize_t high, low, size
    cdef object _first, _rest
    cdef Py_ssize_t _unfinished
    cdef bint _flowing, _skipping

    cpdef put(self, object item)
    cdef _put_fragment(self, object fragment)
    cpdef get(self)
    cdef _append(self, object item)
    cdef _pop(self)
