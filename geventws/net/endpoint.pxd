cimport cython

from geventws.core cimport codec, protocol
from geventws.net cimport heartbeat, hubs, inbox

cdef class Waker

cdef class Endpoint(heartbeat.Heartbeat):
    cdef public object _deferred, _receiver
    cdef public inbox.Inbox _inbox
    cdef public Waker _waker
    cdef public bint _waking

    @cython.locals(inbox=inbox.Inbox, protocol=protocol.Protocol, state=hubs.HubState,
                   decoder=codec.FrameDecoder, size=Py_ssize_t)
    cpdef _read(self, long long events=*)
    @cython.locals(inbox=inbox.Inbox, protocol=protocol.Protocol, decoder=codec.FrameDecoder,
                   full=bint, frames=Py_ssize_t)
    cdef _advance(self, bint receiving=*)
    cpdef _go_on(self, bint receiving=*)
    cdef _wake(self)

@cython.final
cdef class Waker:
    cdef hubs.HubState _state
    cdef list _endpoints

    cpdef add(self, Endpoint endpoint)
    @cython.locals(endpoints=list, endpoint=Endpoint)
    cpdef _run(self)
