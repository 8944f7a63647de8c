"""Workloads: reading and writing traces, placing their calls in time, classifying and generating them."""
