"""Whether addresses can be used, seen within seconds and before the libraries are imported that would use them."""

import socket
from urllib.parse import urlsplit

from .errors import Problem

SECONDS = 5  # for an answer
PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}  # where databases listen, unless their address says


def reach(setting: str, address: str) -> None:
    """See that the server at an address answers; a file is no server, and is not looked at.

    Clients go on trying for minutes, in case a server restarts while a job runs: no reason to start one.

    Raises:
        Problem: If it does not, or if what a setting holds is no address.
    """
    scheme = urlsplit(address).scheme.partition("+")[0]
    try:
        if scheme in ("http", "https"):
            _ask(address)
        elif scheme in PORTS:
            _connect(address, PORTS[scheme])
    except OSError as error:
        fix = "is the network (VPN) up, and the address right?"
        raise Problem(f"{setting}={address} does not answer: {fix} ({type(error).__name__})") from error


def _ask(address: str) -> None:
    import requests  # takes a third of the time that there is for `--help`

    try:
        requests.get(f"{address.rstrip('/')}/health", timeout=SECONDS)
    except requests.exceptions.SSLError:
        return  # it answers; whether it can be trusted is for MLflow's own settings to say


def _connect(address: str, port: int) -> None:
    """Connect to a database's host, if the address names one, and leave."""
    parts = urlsplit(address)
    try:
        host, port = parts.hostname, parts.port or port
    except ValueError:
        return  # its client says what is wrong with the address
    if host:
        socket.create_connection((host, port), SECONDS).close()


def claim(host: str, port: int) -> None:
    """Refuse an address that cannot be listened on, before the model is loaded for nothing."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        socket.create_server(address[:2], family=family).close()
    except OSError as error:
        raise Problem(f"cannot listen on {host} port {port}: {error.strerror or error}; take another --port") from error
