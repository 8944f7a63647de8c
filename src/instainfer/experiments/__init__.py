"""Comparisons on a live platform: start it, deploy, replay a trace, measure. They measure, they never decide."""
