"""Where the agent is, as every tool around Consul finds it: CONSUL_HTTP_ADDR, CONSUL_HTTP_TOKEN, CONSUL_HTTP_SSL."""

import os

DEFAULT = "127.0.0.1:8500"


def location():
    """Scheme, host and port out of CONSUL_HTTP_ADDR, with or without a scheme."""
    given = os.environ.get("CONSUL_HTTP_ADDR", DEFAULT)
    scheme = "https" if os.environ.get("CONSUL_HTTP_SSL", "").lower() in ("1", "true") else "http"
    if "://" in given:
        scheme, given = given.split("://", 1)
    host, _, port = given.rstrip("/").rpartition(":")
    return scheme, host, int(port)


def client():
    """A client for that agent; both `python-consul` and `py-consul` provide this module."""
    import consul

    scheme, host, port = location()
    return consul.Consul(host=host, port=port, scheme=scheme, token=os.environ.get("CONSUL_HTTP_TOKEN"))


def url(path):
    """The address of an API path, for plain HTTP clients."""
    scheme, host, port = location()
    return f"{scheme}://{host}:{port}{path}"
