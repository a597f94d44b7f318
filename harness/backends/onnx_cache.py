"""Key–value caches of an ONNX graph: buffers shared by past and present, or tensors that grow.

`GroupQueryAttention` writes new rows into the buffer it reads from when past and
present are bound to the same memory; the attention mask tells it how much is valid.
Other graphs return the past with the new rows appended: a copy a step, and the only
way that is right for them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt


class Slot(NamedTuple):
    """One tensor of the cache, `[1, heads, tokens, width]`."""

    past: str
    present: str
    heads: int
    width: int
    dtype: npt.DTypeLike


class SharedCache:
    """One buffer a slot, bound as past and as present for good."""

    name = "shared"

    def __init__(self, slots: Sequence[Slot], context: int, value: Callable[[Any], Any]) -> None:
        self._slots = slots
        self.buffers = [np.zeros((1, s.heads, context, s.width), s.dtype) for s in slots]
        self._values = [value(buffer) for buffer in self.buffers]

    def attach(self, binding: Any) -> None:
        """Bind for all runs to come; the logits must have been bound before."""
        for slot, value in zip(self._slots, self._values, strict=True):
            binding.bind_ortvalue_output(slot.present, value)
            binding.bind_ortvalue_input(slot.past, value)

    def before(self, binding: Any) -> None:
        """Nothing to do: the buffers stay bound."""

    def after(self, binding: Any) -> None:
        """Nothing to do: the graph has written into the buffers."""

    def keep(self) -> None:
        """A place in the buffers is found again by its length alone."""

    def rewind(self, length: int, position: int) -> None:
        """Forget tokens `length … position`, and wipe them: nothing stale can be read."""
        for buffer in self.buffers:
            buffer[:, :, length:position] = 0


class GrowingCache:
    """The present of one run is the past of the next."""

    name = "growing"

    def __init__(self, slots: Sequence[Slot], value: Callable[[Any], Any]) -> None:
        self._slots = slots
        self.past_names = [slot.past for slot in slots]
        self._value = value
        self._past: list[Any] = []
        self.rewind(0, 0)

    def attach(self, binding: Any) -> None:
        """Reserve the outputs' places, behind the logits."""
        for slot in self._slots:
            binding.bind_output(slot.present)

    def before(self, binding: Any) -> None:
        """Bind the past; outputs anew, or the runtime would write into the last ones."""
        for slot, value in zip(self._slots, self._past, strict=True):
            binding.bind_ortvalue_input(slot.past, value)
            binding.bind_output(slot.present)

    def after(self, binding: Any) -> None:
        """Keep the presents; `get_outputs` has the order of binding, logits first."""
        self._past = binding.get_outputs()[1:]

    def keep(self) -> list[Any]:
        """The tensors as they are: no run ever writes into them."""
        return self._past

    def restore(self, kept: list[Any]) -> None:
        """Go on from tensors that were kept."""
        self._past = kept

    def fan(self, count: int) -> list[Any]:
        """The past of `count` branches, one copy each: `[count, heads, tokens, width]`."""
        return [self._value(np.repeat(tensor.numpy(), count, axis=0)) for tensor in self._past]

    def rewind(self, length: int, position: int) -> None:  # noqa: ARG002  (one interface)
        """Cut every tensor after `length` tokens."""
        if length == 0:
            cut = [np.zeros((1, s.heads, 0, s.width), s.dtype) for s in self._slots]
        else:
            cut = [np.ascontiguousarray(v.numpy()[:, :, :length]) for v in self._past]
        self._past = [self._value(array) for array in cut]
