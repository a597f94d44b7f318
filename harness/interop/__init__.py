"""Other harnesses: their tasks on our engines, our results in their files."""
