"""Rows of the table of ratios: each module measures some, and yields them as :class:`~rows.measure.Row`."""
