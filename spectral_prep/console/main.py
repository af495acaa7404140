"""The console script `spectral-prep`, and how every command of the house is run: parsed, carried out, its end told.

Results go to stdout, progress and errors to stderr. Exit codes: 0 done, 1 data or a disk is at fault, 2 the command
has to change, 130 Ctrl-C. torch is imported only by the command that runs, so that `--help` answers at once.
"""

from __future__ import annotations

import atexit
import io
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from spectral_prep.console.commands import prep_group
from spectral_prep.console.failure import complain
from spectral_prep.errors import SpectralError
from spectral_prep.system.files import REFUSED
from spectral_prep.system.resources import SLEEPING_THREADS


def prep(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the console script `spectral-prep`."""
    run(prep_group, arguments)


def run(command: click.Command, arguments: Sequence[str] | None) -> NoReturn:
    """Run a command; every expected failure becomes a few labelled lines on stderr and an exit code."""
    os.environ.setdefault(*SLEEPING_THREADS)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be text
    try:
        command.main(args=None if arguments is None else list(arguments), standalone_mode=False)
    except SpectralError as error:
        complain(error)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        complain(error)
        sys.exit(2)
    except OSError as error:
        complain(error)
        sys.exit(2 if error.errno in REFUSED else 1)
    except (click.Abort, KeyboardInterrupt):
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not interrupt the end
        sys.exit(130)
    sys.exit(0)
