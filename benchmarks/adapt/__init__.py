"""The tables of ``benchmarks/adaptation.py``: tasks, methods, and cells that are kept."""
