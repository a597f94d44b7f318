"""How records become a scorecard; `harness.score` puts the parts together.

- `rules`: what a profile demands and weighs
- `observe`: samples, checked and grouped by model, case and process
- `summary`: metrics with intervals and joint bootstrap draws
- `accuracy`: tasks, chance adjustment, draws paired over templates
- `judge`: gates, ratios to the reference, scores, and reasons for none
- `rank`: pairwise tests, ranks with ties, Pareto front, sensitivity to weights
"""
