"""The errors a command reports in one line: our own, and those of the storage and MLflow clients."""

import errno
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import walk_tb

CLIENTS = {
    "boto3.exceptions": ["Boto3Error"],
    "botocore.exceptions": ["BotoCoreError", "ClientError"],
    "cloudpathlib.exceptions": ["CloudPathException"],
    "google.api_core.exceptions": ["GoogleAPIError"],
    "google.auth.exceptions": ["GoogleAuthError"],
    "mlflow.exceptions": ["MlflowException"],
    "requests.exceptions": ["RequestException"],
}

# What a server answers, or how its client fails when there is no answer, and what to do. S3 answers in words, Google in
# numbers, and MLflow in words in capitals.
CREDENTIALS = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to the team's key or, on Google Cloud, "
    "run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS"
)
SILENT = "the server does not answer: is the network (VPN) up, and its address right?"
ADVICE = {
    "there is no such bucket: create it, or correct STORAGE_ROOT": ["NoSuchBucket", "404"],
    "the account may not do this: ask whoever runs the server for the right to read and write": [
        *("AccessDenied", "403", "PERMISSION_DENIED"),
    ],
    f"the store refuses the key: {CREDENTIALS}": [
        *("401", "ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "RefreshError", "SignatureDoesNotMatch"),
    ],
    f"there is no key to the store: {CREDENTIALS}": [
        *("DefaultCredentialsError", "InvalidOperation", "NoCredentialsError", "PartialCredentialsError"),
    ],
    "what answers there is no store: correct AWS_ENDPOINT_URL": ["405", "ResponseParserError"],
    "MLflow refuses the login: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD": ["UNAUTHENTICATED"],
    "what answers there is not MLflow: correct MLFLOW_TRACKING_URI": ["ENDPOINT_NOT_FOUND"],
    SILENT: [
        *("ConnectionClosedError", "ConnectTimeoutError", "EndpointConnectionError", "ReadTimeoutError", "RetryError"),
        *("ConnectionError", "ConnectTimeout", "ReadTimeout", "TransportError"),
    ],
    "the server's certificate is not trusted: set AWS_CA_BUNDLE (a store) or REQUESTS_CA_BUNDLE (MLflow) to the file "
    "of the CA that signed it": ["SSLError"],
}

FULL = "the disk is full: make room, or set storage.root (or TMPDIR, for scratch) to another one, and run this again"
CLOSED = "this place cannot be written to or read: allow it, or set storage.root to another one"
DISK = {errno.ENOSPC: FULL, errno.EDQUOT: FULL, errno.EROFS: CLOSED, errno.EACCES: CLOSED, errno.EPERM: CLOSED}


class Problem(Exception):
    """Something that the person at the keyboard can correct; its text says what is wrong and what to do."""

    def __str__(self) -> str:
        """Give the text without the logins of addresses in it."""
        return redacted(super().__str__())


def redacted(text: str) -> str:
    """Remove logins from addresses, such as a database's: whoever reads the text may not see them.

    As SQLAlchemy reads an address, a password may hold what ends an address elsewhere.
    """
    return re.sub(r"(?<=://)[^:/@\s]*(:[^@\s]*)?@", "", text)


# What a team writes in Python. A mistake in one of these is told by its file and line.
WRITTEN = {str(Path(__file__).with_name(name)): name for name in ("schema.py", "features.py", "metrics.py")}


def mistake(error: BaseException) -> str | None:
    """Put what is raised in a file that a team writes into a line; None if the error is from elsewhere.

    What schema.py raises for a row, when all of it is imported, is no mistake in it, and is none here.
    """
    if isinstance(error, SyntaxError) and error.filename in WRITTEN:
        return f"{WRITTEN[error.filename]}, line {error.lineno}: {error.msg}; correct it"
    frames = [
        (WRITTEN.get(frame.f_code.co_filename), frame.f_code.co_name, line)
        for frame, line in walk_tb(error.__traceback__)
    ]
    here = [(file, line) for file, _, line in frames if file]
    imported = any(name == "<module>" for file, name, _ in frames if file)
    if not here or (here[-1][0] == "schema.py" and not imported):
        return None
    file, line = here[-1]
    reason = str(error).strip().splitlines() or [type(error).__name__]
    return f"{file}, line {line}: {reason[0]}; correct it"


def is_failure(error: BaseException) -> bool:
    """Whether a server's client raised it; by name, since an exception of a library that is not imported cannot be."""
    return any(kind.__name__ in CLIENTS.get(kind.__module__, ()) for kind in type(error).__mro__)


@contextmanager
def told(command: str) -> Iterator[None]:
    """End a command with a line for what the person at the keyboard can correct; other errors keep their traceback."""
    try:
        yield
        sys.stdout.flush()
    except Problem as problem:
        sys.exit(f"{command}: {problem}")
    except BrokenPipeError:  # whoever reads the output has seen enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + 13)  # as a command that the signal for this ends
    except Exception as error:
        if is_failure(error):
            sys.exit(f"{command}: {explain(error)}")
        if line := mistake(error) or disk(error):
            sys.exit(f"{command}: {line}")
        raise


def disk(error: BaseException) -> str | None:
    """Put into a line what a disk refuses; None if it is not that. Polars has the number in its text only."""
    in_text = re.search(r"\(os error (\d+)\)", str(error))
    number = int(in_text[1]) if in_text else getattr(error, "errno", None)
    if number not in DISK:
        return None
    place = getattr(error, "filename", None)
    return f"{DISK[number]} ({place})" if place else DISK[number]


def is_silent(failure: BaseException) -> bool:
    """Whether a server's client failed because nobody answered."""
    return _advice(failure) == SILENT


def explain(failure: BaseException) -> str:
    """Put a failure of a server's client into words: what is wrong, what to do, and the client's own message."""
    message = redacted(str(failure).splitlines()[0])
    advice = _advice(failure)
    return f"{advice} ({message[:200]})" if advice else f"the server says: {message}"


def _advice(failure: BaseException) -> str | None:
    for error in _chain(failure):
        for advice, answers in ADVICE.items():
            if _answer(error) in answers:
                return advice
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error:
        yield error
        error = error.__cause__ or error.__context__


def _answer(error: BaseException) -> str:
    """Give what a server answered, or else the kind of failure."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return str(response["Error"]["Code"])
    code = getattr(error, "code", None) or getattr(response, "status_code", None)
    if isinstance(code, int):
        return str(int(code))
    return str(getattr(error, "error_code", type(error).__name__))
