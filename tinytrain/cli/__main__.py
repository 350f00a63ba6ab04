"""``python -m tinytrain.cli``."""

from .main import main

main()
