"""The command line."""

import sys

try:
    from .main import app, main
except KeyboardInterrupt:  # PyTorch takes some seconds to load
    sys.exit(130)

__all__ = ["app", "main"]
