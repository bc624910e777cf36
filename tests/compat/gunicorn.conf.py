"""What a program for gevent-websocket needs under gunicorn."""

import geventws.compat

geventws.compat.install()
