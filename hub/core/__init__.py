"""Decisions: who may ask, what is taken on, what is sent when, what is told. No sockets, no SQL, no wire words."""
