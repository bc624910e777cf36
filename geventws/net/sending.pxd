cimport cython

from geventws.net cimport hubs, receiving
from geventws.net.threads cimport get_ident

cdef Py_ssize_t LARGE, TURN_BYTES, TURN_COST

cdef class Sender(receiving.Receiver):
    cdef public object _fragmenting
    cdef public tuple _goodbye

    @cython.locals(state=hubs.HubState)
    cdef _prepare_to_send(self, bint between=*)
    cdef _hand_over(self, bytes frame)
    cdef _hand_over_large(self, bytes header, bytes payload)
