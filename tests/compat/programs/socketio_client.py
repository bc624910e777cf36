"""A session of Socket.IO: ``socketio_client.py URI transport...``; it prints what it gets."""

import sys
import threading

import socketio

# It would wait 5 seconds for each answer, and for the server's first.
client = socketio.Client(reconnection=False, request_timeout=20)
shouted = threading.Event()


@client.on("shouted")
def on_shouted(data):
    print("shouted", data)
    shouted.set()


client.connect(sys.argv[1], transports=sys.argv[2:], wait_timeout=20)
print("echo", client.call("echo", {"text": "Hello!"}, timeout=20))
print("echo", client.call("echo", b"\x00binary", timeout=20))
print("echo", len(client.call("echo", "x" * 100_000, timeout=20)))
client.emit("shout", "all")
shouted.wait(20)
print("transport", client.transport())
client.disconnect()
