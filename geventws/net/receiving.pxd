cimport cython

from geventws.net cimport endpoint, inbox
from geventws.net.threads cimport get_ident

cdef class Messages:
    cdef object _receiver

cdef class Receiver(endpoint.Endpoint):
    cdef public bint _streaming

    cdef _catch_up(self)
    @cython.locals(inbox=inbox.Inbox)
    cdef _wait_for_message(self)
