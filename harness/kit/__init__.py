"""Offline kits: harness, engines, models and a runtime in one folder, for where no network is.

`building` makes one, `install` is what runs on the machine (standard library only), `manifest`
says what is inside.
"""
