"""Graphs and plans as C."""
