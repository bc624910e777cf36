"""Subprotocols of `WebSocketApplication`."""
