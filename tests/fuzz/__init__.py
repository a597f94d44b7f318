"""Seeded campaigns against what reads files of strangers; see `campaign`."""
