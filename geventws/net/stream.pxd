cimport cython

from geventws.net cimport hubs, transport

cdef class Stream:
    cdef public transport.Transport _transport
    cdef public hubs.HubState _state
    cdef public object _read_watcher, _write_watcher, _queue, _pong, _cause, _senders
    cdef public Py_ssize_t _queued, _high, _low
    cdef public int _batches
    cdef public bint _broken, _eof_queued, _flushing, _writing
    cdef public double _last_write

    @cython.locals(transport=transport.Transport, sent=Py_ssize_t)
    cdef _write(self, data)
    @cython.locals(sent=Py_ssize_t)
    cdef _write_large(self, bytes header, bytes payload)
    @cython.locals(now=double)
    cdef _write_joined(self, bytes data)
    cdef _enqueue(self, data)
    @cython.locals(transport=transport.Transport, sent=Py_ssize_t)
    cdef _flush(self)
    cdef bint _next_chunk(self) except -1
    cdef _drained(self)
    cpdef _watch_writes(self)
    cpdef _write_failed(self, exc)
