from geventws.net cimport hubs

cdef class Transport:
    cdef public object sock
    cdef public Py_ssize_t unsent
    cdef public bint again

    cpdef Py_ssize_t receive(self, hubs.HubState state) except -2
    cpdef Py_ssize_t send(self, object data) except -2
    cpdef Py_ssize_t send_large(self, bytes header, bytes payload) except -2
    cpdef flush(self)
    cpdef close(self)
    cpdef abandon(self)
