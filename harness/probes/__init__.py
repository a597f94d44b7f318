"""Sensors that are read while or between measurements."""
