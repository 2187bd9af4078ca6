"""Secrets that are kept in files, as orchestrators mount them."""

from __future__ import annotations

from pathlib import Path


class SecretError(ValueError):
    """A file with a secret cannot be used; the message names the setting, the file and the remedy."""


def read_secret(setting: str, file: Path) -> str:
    """The secret in a file, without white space around it.

    It is read whenever it is needed, so that a new secret counts from the next connection on.

    Args:
        setting: the setting that names the file, for messages.
        file: the file.

    Raises:
        SecretError: when it cannot be read or is empty.
    """
    remedy = "give a file that this process can read and that holds nothing but the secret"
    try:
        secret = file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SecretError(f"{setting}={file} cannot be read ({error.strerror}); {remedy}") from error
    except UnicodeDecodeError as error:
        raise SecretError(f"{setting}={file} is not text; {remedy}") from error
    if not secret:
        raise SecretError(f"{setting}={file} is empty; {remedy}")
    return secret
