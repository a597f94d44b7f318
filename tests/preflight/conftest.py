"""Toy networks, as the tests of models have them."""

from tests.models.conftest import make_toy, toy

__all__ = ["make_toy", "toy"]
