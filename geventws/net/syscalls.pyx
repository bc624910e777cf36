"""The two system calls in C; syscalls.py says what for, and is used where this was not compiled.

They keep the GIL, because they never block, and raise nothing if there is nothing to do.
"""

from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING
from cpython.exc cimport PyErr_SetFromErrno
from libc.errno cimport EAGAIN, EINTR, errno

from geventws.net cimport hubs, transport

cdef extern from "sys/socket.h" nogil:
    int MSG_NOSIGNAL
    Py_ssize_t recv(int fd, void *buffer, size_t size, int flags)
    Py_ssize_t send(int fd, const void *data, size_t size, int flags)

__all__ = ["DirectTransport"]


cdef class DirectTransport(transport.Transport):
    # -1 once it may be another's.
    cdef int _fd

    def __init__(self, sock):
        transport.Transport.__init__(self, sock)
        self._fd = sock.fileno()

    def forget_descriptor(self):
        self._fd = -1

    cpdef Py_ssize_t receive(self, hubs.HubState state) except -2:
        if self._fd < 0:
            return transport.Transport.receive(self, state)
        cdef Py_ssize_t size = -1
        while size < 0:
            size = recv(self._fd, PyByteArray_AS_STRING(state.buffer), len(state.buffer), 0)
            if size < 0 and errno != EINTR:
                return retry_later(-1)
        return size

    cpdef Py_ssize_t send(self, object data) except -2:
        if self._fd < 0 or type(data) is not bytes:
            return transport.Transport.send(self, data)
        cdef Py_ssize_t sent = -1
        while sent < 0:
            sent = send(self._fd, PyBytes_AS_STRING(data), len(<bytes>data), MSG_NOSIGNAL)
            if sent < 0 and errno != EINTR:
                return retry_later(0)
        return sent

    cpdef close(self):
        self._fd = -1
        transport.Transport.close(self)

    cpdef abandon(self):
        self._fd = -1
        transport.Transport.abandon(self)


cdef Py_ssize_t retry_later(Py_ssize_t result) except -2:
    if errno != EAGAIN:
        PyErr_SetFromErrno(OSError)
    return result
