cimport cython

from geventws.core cimport codec, protocol
from geventws.net cimport heartbeat, hubs, inbox

cdef class Endpoint(heartbeat.Heartbeat):
    cdef public object _deferred, _receiver
    cdef public inbox.Inbox _inbox
    cdef public bint _waking

    @cython.locals(inbox=inbox.Inbox, protocol=protocol.Protocol, state=hubs.HubState,
                   decoder=codec.FrameDecoder, size=Py_ssize_t)
    cpdef _read(self, events=*)
    @cython.locals(inbox=inbox.Inbox, protocol=protocol.Protocol, decoder=codec.FrameDecoder,
                   full=bint)
    cpdef _advance(self)
