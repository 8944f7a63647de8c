"""Gives the user of a function's process a name and a home, since its user id is in no list of accounts."""

from __future__ import annotations

import os
import pwd

NAME = "function"

_getpwuid = pwd.getpwuid
_getlogin = os.getlogin


def name_user() -> None:
    """From now on, ``pwd.getpwuid(os.getuid())`` and ``os.getlogin()`` answer where they would raise.

    Libraries ask for the one to find a folder for their caches, and nobody has logged in to a function.
    """
    pwd.getpwuid = _own_account
    os.getlogin = _own_name


def _own_account(uid: int, /) -> pwd.struct_passwd:
    try:
        return _getpwuid(uid)
    except KeyError:
        if uid != os.getuid():
            raise
        home = os.environ.get("HOME", "/")
        return pwd.struct_passwd((NAME, "x", uid, os.getgid(), "", home, "/bin/sh"))


def _own_name() -> str:
    try:
        return _getlogin()
    except OSError:
        return os.environ.get("LOGNAME", NAME)
