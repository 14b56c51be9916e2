"""asyncid-hub: send a call to any device, get the answer pushed."""

__version__ = "0.1.0"
