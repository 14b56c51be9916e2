"""Facts and rules of the hub, in plain Python: no I/O, no clock, standard library only."""
