"""Turns the records of calls into numbers, tables, figures and one self-contained page."""
