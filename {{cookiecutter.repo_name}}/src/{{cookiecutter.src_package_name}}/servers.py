"""Whether addresses can be used, seen within seconds and before the libraries are imported that would use them."""

import os
import re
import socket
from urllib.parse import urlsplit

from .errors import Problem

SECONDS = 5  # for an answer
PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}  # where databases listen, unless their address says

# Why a database cannot be used, in its client's words, and what to do; the first that fits, and the last always does.
URL = "an address such as postgresql+psycopg://user:password@host/database is needed"
FIXES = {
    "password authentication failed": "correct the password in it",
    "does not exist": "create that database, or correct its name",
    "DB access module": "install the driver that it names",
    "No module named": "install the driver that it names",
    "Can't load plugin": URL,
    "Could not parse": URL,
    "invalid literal": URL,
    "": "is the network (VPN) up, and the database running?",
}


def remedy(reason: str) -> str:
    """Say what to do about a database that cannot be used, by what its client says."""
    return next(fix for words, fix in FIXES.items() if words in reason)


def address(variable: str) -> str:
    """Look up the address that an environment variable holds, since no file may hold its login.

    Raises:
        Problem: If it holds none, or one in which the login cannot be told from the host.
    """
    if not re.fullmatch(r"[A-Za-z_]\w*", variable):
        raise Problem("data.database is not the name of an environment variable: put the address into one, and name it")
    found = os.environ.get(variable, "")
    if not found:
        raise Problem(f"{variable} is not set, and data.query asks the database there: {URL}")
    if found.partition("?")[0].count("@") > 1:  # the client would take a part of the password for the host, and say so
        raise Problem(f"{variable} has several signs @: in a user's name or a password write %40 for it")
    return found


def bare(address: str) -> str:
    """Give a database's address without its login, and without options, which may hold one, too."""
    return re.sub(r"://.*@", "://", address.partition("?")[0])


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


def require_compute(compute: object) -> None:
    """Refuse what is neither a number of processes nor the address of a Dask scheduler."""
    if isinstance(compute, str):
        right = _has_port(compute) and urlsplit(compute).scheme in ("tcp", "tls", "ws", "wss")
    else:
        right = type(compute) is int and compute >= 1  # a bool is an int, too
    if not right:
        raise Problem(
            f"compute={compute}: it is a number of processes from 1 on, or the address of a Dask scheduler, "
            "such as tcp://dask:8786"
        )


def _has_port(address: str) -> bool:
    try:
        return bool(urlsplit(address).port)
    except ValueError:
        return False


def claim(host: str, port: int) -> None:
    """Refuse an address that cannot be listened on, before the model is loaded for nothing."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        socket.create_server(address[:2], family=family).close()
    except OSError as error:
        raise Problem(f"cannot listen on {host} port {port}: {error.strerror or error}; take another --port") from error
