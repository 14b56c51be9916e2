"""A small Python client of the native API; it uses nothing of the hub's but what is public."""

from hub.client.client import Accepted, Client
from hub.client.errors import ClientError, KeyRefused, Refused, Unreachable, WatchEnded
from hub.client.watch import Frame, watch

__all__ = ["Accepted", "Client", "ClientError", "Frame", "KeyRefused", "Refused", "Unreachable", "WatchEnded", "watch"]
