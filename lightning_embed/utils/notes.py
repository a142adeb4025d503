"""Notes: lines worth knowing, on standard error."""

import os
import sys

_NOTED: set[str] = set()


def note(text: str) -> None:
    """Tells something worth knowing on standard error, once, and on the first process of a machine only.

    Args:
        text: One line.
    """
    if text not in _NOTED and os.environ.get("LOCAL_RANK", "0") == "0":
        _NOTED.add(text)
        print(f"note: {text}", file=sys.stderr, flush=True)
