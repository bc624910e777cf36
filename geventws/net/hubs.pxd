from geventws.net.threads cimport get_ident

cdef class HubState:
    cdef public object hub, loop, switch_to_hub, view, keepalive, mailbox, quiet, sender, turns, waker
    cdef public unsigned long thread
    cdef public bytearray buffer
    cdef public set streams
    cdef public list emitters
    cdef public bint created_hub, released, tells_errors
    cdef public Py_ssize_t spent
    cdef public double woken
    cdef object __weakref__
