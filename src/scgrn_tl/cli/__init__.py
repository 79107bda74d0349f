"""The ``scgrn-tl`` command: parse, call, print."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING

from scgrn_tl.core import ScgrnError

from ._flags import in_flags
from ._parser import make_parser
from ._print import log_to_stderr

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv
        Arguments without the program's name; those of the process if ``None``.

    Returns
    -------
    The exit status: 0; 1 if runs of a benchmark failed; or 2 after an error that one line on stderr explains. With
    ``--debug`` errors are raised.
    """
    arguments = make_parser().parse_args(argv)
    run: Callable[[argparse.Namespace], int | None] = arguments.run
    with log_to_stderr(logging.INFO if arguments.verbose else logging.WARNING):
        try:
            status = run(arguments) or 0
            sys.stdout.flush()
            return status
        except BrokenPipeError:  # whoever reads has seen enough, such as `head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is flushed at exit
            return 0
        except (ScgrnError, OSError) as error:
            if arguments.debug:
                raise
            message = " ".join([str(error), *getattr(error, "__notes__", ())])  # the notes name a page of the docs
            print(f"scgrn-tl: error: {in_flags(' '.join(message.split()))}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("scgrn-tl: interrupted", file=sys.stderr)
            return 130
