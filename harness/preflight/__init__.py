"""Judge a submitted model before native code sees it."""
