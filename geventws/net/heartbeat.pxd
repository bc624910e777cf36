from geventws.net cimport link

cdef class Heartbeat(link.Link):
    cdef public object _keepalive_ping, _ping_interval, _ping_timeout, _pings
    cdef public bint _stalled
    cdef public double latency

    cpdef _read(self, long long events=*)
