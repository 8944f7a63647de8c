"""The discrete-event driver: the states of `core` on a virtual clock, with costs in the place of containers."""
