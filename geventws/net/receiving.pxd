cimport cython

from geventws.net cimport endpoint, inbox

cdef class Receiver(endpoint.Endpoint):
    cdef public bint _streaming

    @cython.locals(inbox=inbox.Inbox)
    cpdef _wait_for_message(self)
