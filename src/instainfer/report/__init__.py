"""From the records of calls to numbers, tables, figures and one self-contained page."""
