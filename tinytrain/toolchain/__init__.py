"""Compile, link, measure."""
