"""What is answered over HTTP: `/metrics` and `/healthz`."""
