cimport cython

from geventws.net cimport hubs, receiving

cdef Py_ssize_t TURN_BYTES, TURN_COST

cdef class Sender(receiving.Receiver):
    cdef public object _fragmenting

    @cython.locals(state=hubs.HubState, now=double)
    cpdef _prepare_to_send(self, bint between=*)
    cpdef _hand_over(self, bytes frame)
