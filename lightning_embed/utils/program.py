"""What this program is called on the command line."""

import sys
from pathlib import Path

SCRIPT = "lightning-embed"


def program() -> str:
    """`lightning-embed` if it was started by that name, else `python -m lightning_embed`."""
    return SCRIPT if Path(sys.argv[0]).stem == SCRIPT else "python -m lightning_embed"
