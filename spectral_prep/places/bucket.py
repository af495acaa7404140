"""The store of a bucket, and what the user reads when it fails.

Input: a URL. Output: an obstore store, with credentials, endpoint and region from the provider's usual environment
variables; whatever obstore raises becomes one of our errors. None of them shows a secret.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import re
from collections.abc import Iterator
from datetime import timedelta
from functools import cache

from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    InvalidPathError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import ObjectStore, from_url

from spectral_prep.errors import InputError, StorageError
from spectral_prep.places.url import Url

RETRY_VARIABLE = "SPECTRAL_RETRY_SECONDS"
RETRY_SECONDS = 60
"""How long a request is tried again, and how long one may go without a byte; `RETRY_VARIABLE` says otherwise."""

SHORTEST_SILENCE = 5
REQUEST_SECONDS = 120
LONGEST_REASON = 300
CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_REGION, and AWS_ENDPOINT_URL where it is not Amazon's",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
ENDPOINTS = (
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT",
    "AZURE_STORAGE_ENDPOINT",
    "AZURE_ENDPOINT",
)
NO_BUCKET = ("NoSuchBucket", "ContainerNotFound", "The specified bucket does not exist")
BEYOND = ("InvalidRange", "416 Range Not Satisfiable", "416 Requested Range")
DENIED = ("status code: 401", "status code: 403", "<Code>AccessDenied<", "<Code>InvalidAccessKeyId<")
"""What stands in errors that obstore gives no kind: those of listing, for one."""

ASKED_FOR_CREDENTIALS = ("169.254.169.254", "metadata.google.internal", "metadata/identity")
"""Where a cloud's own machines get credentials; other machines are sent there only if the environment has none."""

FORKED = "a process that was forked after the object store was first used: it would wait for ever"


class _Forked:
    """Whether obstore's threads were running when this process was forked: they are not in the child."""

    used = False
    lost = False


os.register_at_fork(after_in_child=lambda: setattr(_Forked, "lost", _Forked.used))


def store(url: Url) -> ObjectStore:
    """Return the store of a bucket, one a process."""
    if _Forked.lost:
        raise InputError(
            "an object store cannot be used here",
            where=url,
            got=FORKED,
            run='with multiprocessing_context="forkserver" (of a DataLoader), or from a copy on the disk',
        )
    _Forked.used = True
    return _store(url.scheme, url.bucket)


@cache
def _store(scheme: str, bucket: str) -> ObjectStore:
    seconds = retry_seconds()
    endpoints = [os.environ.get(name, "") for name in ENDPOINTS]
    try:
        return from_url(
            f"{scheme}://{bucket}",
            client_options={
                "allow_http": any(endpoint.startswith("http://") for endpoint in endpoints),
                "timeout": timedelta(seconds=max(REQUEST_SECONDS, seconds)),
                "read_timeout": timedelta(seconds=max(SHORTEST_SILENCE, seconds)),
            },
            retry_config={
                "max_retries": 1000,
                "retry_timeout": timedelta(seconds=seconds),
                "backoff": {"max_backoff": timedelta(seconds=5)},
            },
        )
    except (BaseError, ValueError) as error:  # nothing was asked for yet
        raise InputError(
            "the object store cannot be opened",
            where=Url(scheme, bucket),
            expected=f"the name of a bucket, and in the environment {CREDENTIALS[scheme]}",
            got=reason(error),
            run="the same command with these set",
        ) from error


def retry_seconds() -> float:
    """Return how long requests are tried again.

    Raises
    ------
    InputError
        If the environment says something else than a number of seconds.
    """
    text = os.environ.get(RETRY_VARIABLE, str(RETRY_SECONDS))
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= 86400:
        raise InputError(f"unusable {RETRY_VARIABLE}", expected="seconds, at most a day", got=text)
    return seconds


@contextlib.contextmanager
def told(url: Url, *, writing: bool = False) -> Iterator[None]:
    """Turn what obstore raises into the paragraph that the user reads.

    Raises
    ------
    FileNotFoundError, FileExistsError
        If there is no such object in the bucket, or there is one already.
    OSError
        If the object is no longer the one that was opened.
    ValueError
        If the object is shorter than what is read of it.
    InputError
        If there is no such bucket, the credentials are refused, or a name cannot be used.
    StorageError
        If the object store does not answer, or fails.
    """
    try:
        yield
    except AlreadyExistsError as error:
        raise FileExistsError(str(url)) from error
    except PreconditionError as error:
        raise OSError(errno.ESTALE, "the object was changed while it was read", str(url)) from error
    except (FileNotFoundError, BaseError, ValueError) as error:  # ValueError: a name that obstore does not take
        if any(name in str(error) for name in BEYOND):
            raise ValueError(f"{url.name} is shorter than what is read of it") from error
        raise _explained(url, error, writing=writing) from error


def _explained(url: Url, error: Exception, *, writing: bool) -> Exception:
    text = str(error)
    if isinstance(error, FileNotFoundError) and not writing and not any(name in text for name in NO_BUCKET):
        return FileNotFoundError(2, "no such object", str(url))
    if any(name in text for name in NO_BUCKET):
        return InputError("no such bucket", where=url, got=reason(error), run="it again once it is made")
    if isinstance(error, (InvalidPathError, ValueError)):
        return InputError(
            "an object has a name that cannot be used",
            where=url,
            expected="UTF-8 without control characters, nor //, /./ or /../",
            got=reason(error),
            run="the same command once it is renamed or removed",
        )
    asked = any(name in text for name in ASKED_FOR_CREDENTIALS)
    if asked or isinstance(error, (PermissionDeniedError, UnauthenticatedError)) or any(n in text for n in DENIED):
        return InputError(
            f"the object store does not let us {'write' if writing else 'read'} here",
            where=url,
            expected=f"credentials for it in the environment: {CREDENTIALS[url.scheme]}",
            got="none" if asked else reason(error),
            run="the same command with these set",
        )
    return StorageError(
        "the object store failed",
        where=url,
        got=reason(error),
        run="the same command once it answers: what is finished is kept",
    )


def reason(error: Exception) -> str:
    """Return what an object store said, in a line, without the request and what obstore adds for its developers.

    >>> reason(ValueError("Generic S3 error: <Code>SlowDown</Code><Message>Please wait.</Message> and more"))
    'SlowDown: Please wait'

    The address of a request may carry a signature:

    >>> reason(ValueError("Error performing GET https://host/a?sig=secret in 1s - no answer"))
    'Error performing GET https://host/a?… in 1s - no answer'
    """
    text = str(error)
    code, message = (re.search(f"<{name}>(.*?)</{name}>", text, re.DOTALL) for name in ("Code", "Message"))
    if code:
        text = f"{code[1]}: {message[1].splitlines()[0]}" if message and message[1] else code[1]
    text = re.sub(r"(\w://[^\s?]*)\?\S*", r"\1?…", text.partition("\n\nDebug source")[0])
    return " ".join(text.split())[:LONGEST_REASON].rstrip(".")
