"""Runs an application of `tests.wsgi.apps` on a server, as a program: ``serve.py pywsgi plain``.

One of another module is called ``module:app``. It prints the port. TLS is used where
GEVENTWS_TEST_CERTIFICATE names a file.
"""

from __future__ import annotations

import os
import sys
from typing import Any

if os.environ.get("GEVENTWS_TEST_PATCH") == "1":
    from gevent import monkey

    monkey.patch_all()

import importlib
import logging
import ssl

logging.basicConfig(level=logging.INFO)


def serve(server: str, app: Any) -> None:
    certificate = os.environ.get("GEVENTWS_TEST_CERTIFICATE")
    if server == "pywsgi":
        import gevent
        import gevent.signal
        from gevent import pywsgi

        tls = {"certfile": certificate, "keyfile": certificate} if certificate else {}
        listening = pywsgi.WSGIServer(("127.0.0.1", 0), app, **tls)
        listening.start()
        gevent.signal_handler(15, listening.stop)
        print("port", listening.server_port, flush=True)
        listening.serve_forever()
    elif server == "werkzeug":
        from werkzeug.serving import make_server

        context = None
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
        threaded = make_server("127.0.0.1", 0, app, threaded=True, ssl_context=context)
        print("port", threaded.port, flush=True)
        threaded.serve_forever()
    elif server == "waitress":
        import waitress

        waiting = waitress.create_server(app, host="127.0.0.1", port=0)
        print("port", waiting.effective_port, flush=True)
        waiting.run()
    else:
        from wsgiref.simple_server import make_server as make_wsgiref

        simple = make_wsgiref("127.0.0.1", 0, app)
        print("port", simple.server_port, flush=True)
        simple.serve_forever()


if __name__ == "__main__":
    module, _, name = sys.argv[2].rpartition(":")
    serve(sys.argv[1], getattr(importlib.import_module(module or "tests.wsgi.apps"), name))
