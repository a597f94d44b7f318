"""The child that judges one model: a request on standard input, facts or a refusal out."""

from harness import sandbox
from harness.preflight.judge import answer

if __name__ == "__main__":
    sandbox.serve(answer)
