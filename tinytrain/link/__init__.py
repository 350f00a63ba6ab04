"""The serial protocol, host side."""
