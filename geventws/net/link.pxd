cimport cython

from geventws.core cimport protocol
from geventws.net cimport stream
from geventws.net.threads cimport get_ident

cdef class Link(stream.Stream):
    cdef public object _close_timeout, _closed, _deadline, _logger
    cdef public bint _close_due, _debug, _emitting, _ended
    cdef public protocol.Protocol _protocol

    @cython.locals(protocol=protocol.Protocol, pongs=list, data=bytes)
    cpdef _settle(self)
    cdef _write_pongs(self, list pongs)
