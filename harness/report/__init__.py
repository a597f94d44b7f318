"""Reports: what people read of a scorecard.

scorecard.json (a dict) ─▶ reading ─▶ view ─▶ console | markdown | html ─▶ text, written whole

A report is a pure function of one scorecard: it measures nothing and needs no engine,
so any machine can render what another one measured.
"""
