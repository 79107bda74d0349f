"""Benchmarks for airspeed velocity: `asv run` in this folder's parent, or `asv run --python=same --quick` at once."""
