"""The simulator: drives the states of `core` on a virtual clock; containers are replaced by the time they cost."""
