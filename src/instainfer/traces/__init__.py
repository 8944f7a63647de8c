"""Workloads: reads, writes, classifies and generates traces, and gives each of their calls a time."""
