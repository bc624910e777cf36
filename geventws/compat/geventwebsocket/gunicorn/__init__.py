"""What gunicorn needs to run WebSockets."""
