"""What the hub needs from outside: adapters, an engine, a clock. Protocols only."""
