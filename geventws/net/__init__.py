"""The first floor: WebSocket connections over gevent.

Rules of this floor:

1. What runs in the hub neither blocks nor logs nor calls user code; it hands over to
   greenlets by ``loop.run_callback``.
2. No exception leaves a watcher's callback: libev would stop the watcher for good, libuv
   end the program.
3. Every wait survives `gevent.Timeout` and ``GreenletExit``, which are not `Exception`:
   nothing is lost, nothing half-written, nothing leaks.
4. It never patches and never needs patching: everything comes from ``gevent.*``.
"""
