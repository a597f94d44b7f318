"""Random weights in the shape of a network: speed and memory without any licence.

Quantised formats are drawn as what a file holds, codes and scales, and not as numbers
that would then be quantised: a billion weights take seconds. Every byte comes from one
integer stream a tensor (SFC64, which NumPy keeps the same for ever), through integer
operations and exactly rounded ones only: files are the same on all platforms, whatever
the order in which tensors are asked for.

What could make random weights faster or slower than real ones is kept out. Weights are
symmetric around zero, because an offset makes the logits collapse: the codes of a block
are lopsided by half a step, so the sign of its scale is random. Their deviation is
1/sqrt(inputs), which keeps activations, and so also every product, in the normal range of
a float.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

import numpy as np

from harness.models.network import Array, NetworkConfig, tensor_shapes

Progress = Callable[[int, int], None]
"""Called with the weights made so far and the weights to be made."""

_PART_BYTES: Final = 1 << 20
_ONNX_BLOCK: Final = 32


class _Layout(NamedTuple):
    """A block of a GGUF type: its size, where its float16 scale stands, and what that scales."""

    weights: int
    size: int
    scale_at: int
    deviation: float
    """Standard deviation of the weights where the scale is 1."""


# A code of b bits has the variance (4^b − 1) / 12. K-quants multiply it by a second scale,
# an integer: uniform over 0 … 63 in Q4_K, over −128 … 127 in Q6_K.
_LAYOUTS: Final = {
    "Q4_0": _Layout(32, 18, 0, math.sqrt(255 / 12)),
    "Q5_0": _Layout(32, 22, 0, math.sqrt(1023 / 12)),
    "Q8_0": _Layout(32, 34, 0, math.sqrt(65535 / 12)),
    "Q4_K": _Layout(256, 144, 0, math.sqrt(255 / 12 * 63 * 127 / 6)),
    "Q6_K": _Layout(256, 210, 208, math.sqrt(4095 / 12 * 65535 / 12)),
}


class RandomTensors(Mapping[str, Array]):
    """The tensors of `config`, made on access from `seed`.

    As a mapping it gives float16 tensors `[out, in]`; `gguf_blocks` and `onnx_blocks` give
    quantised ones. Norms are ones.

    Args:
        config: shape of the network.
        seed: of the random stream.
        progress: told after each tensor.
    """

    def __init__(
        self, config: NetworkConfig, seed: int = 0, progress: Progress | None = None
    ) -> None:
        self._shapes = tensor_shapes(config)
        self._seed = seed
        self._progress = progress
        self._total = config.parameters
        self._made: set[str] = set()

    def __getitem__(self, name: str) -> Array:
        shape = self._shapes[name]
        if name.endswith("norm.weight"):
            out = np.ones(shape, np.float16)
        else:
            out = np.empty(math.prod(shape), np.float16)
            # A uniform integer of 16 bits has the deviation 2^16 / sqrt(12).
            scale = np.float32(math.sqrt(12 / shape[-1]) / (1 << 16))
            start = 0
            for part in self._bytes(name, 2 * out.size):
                numbers = part.view("<i2").astype(np.float32)
                out[start : start + numbers.size] = numbers * scale
                start += numbers.size
            out = out.reshape(shape)
        self._tell(name)
        return out

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)

    def gguf_blocks(self, name: str, kind: str) -> Iterator[Array]:
        """Blocks uint8 `[blocks, bytes]` of the GGUF type `kind`, in parts.

        Args:
            name: of a matrix whose rows `kind` divides.
            kind: Q4_0, Q5_0, Q8_0, Q4_K or Q6_K.
        """
        layout = _LAYOUTS[kind]
        shape = self._shapes[name]
        scale = np.float16(1 / math.sqrt(shape[-1]) / layout.deviation)
        size = math.prod(shape) // layout.weights * layout.size
        for part in self._bytes(name, size, layout.size):
            blocks = part.reshape(-1, layout.size)
            if kind == "Q4_K":
                _set_super_scales(blocks, scale)
            else:
                low, high = np.array(scale, "<f2").tobytes()
                blocks[:, layout.scale_at] = low
                blocks[:, layout.scale_at + 1] = blocks[:, layout.scale_at + 1] & 0x80 | high
            if kind == "Q8_0":
                codes = blocks[:, 2:].view(np.int8)
                np.maximum(codes, -127, out=codes)  # -128 is no code of llama.cpp's
            yield blocks
        self._tell(name)

    def onnx_blocks(self, name: str, bits: int) -> tuple[Array, Array]:
        """Codes and scales of a matrix as MatMulNBits reads them, in blocks of 32.

        Returns:
            Codes uint8 `[out, in / 32, 32 * bits / 8]` and scales float32 `[out, in / 32]`;
            the zero point is the default, `2 ** (bits - 1)`.
        """
        rows, columns = self._shapes[name]
        codes = np.empty(rows * columns * bits // 8, np.uint8)
        start = 0
        # Not the stream of the embedding, of which a tied head is a second, quantised copy.
        for part in self._bytes(name + ".codes", codes.size):
            codes[start : start + part.size] = part
            start += part.size
        scale = np.float32(1 / math.sqrt(columns) / math.sqrt((4**bits - 1) / 12))
        signs = np.concatenate(list(self._bytes(name + ".signs", rows * columns // _ONNX_BLOCK)))
        scales = np.where(signs & 1, scale, -scale)
        self._tell(name)
        return codes.reshape(rows, columns // _ONNX_BLOCK, 4 * bits), scales.reshape(rows, -1)

    def _bytes(self, name: str, count: int, multiple: int = 2) -> Iterator[Array]:
        """`count` random bytes uint8 in parts, each a multiple of `multiple` long."""
        entropy = np.random.SeedSequence((self._seed, zlib.crc32(name.encode())))
        stream = np.random.SFC64(entropy)
        # Parts begin at whole words of the stream.
        step = math.lcm(8, multiple) * (_PART_BYTES // math.lcm(8, multiple))
        for start in range(0, count, step):
            size = min(step, count - start)
            words = stream.random_raw(-(-size // 8))
            yield words.astype("<u8", copy=False).view(np.uint8)[:size]

    def _tell(self, name: str) -> None:
        self._made.add(name)
        if self._progress:
            done = sum(math.prod(self._shapes[made]) for made in self._made)
            self._progress(done, self._total)


def _set_super_scales(blocks: Array, scale: np.float16) -> None:
    """Scales of Q4_K: `scale · s · code − minimum · m`, eight pairs (s, m) of six bits a block.

    With m = s and a minimum of 7.5 scales the sixteen codes are symmetric around zero. A
    scale whose last four bits are zero makes 7.5 times it exact.
    """
    rounded = (np.array(scale).view(np.uint16) & 0xFFF0).view(np.float16)
    pair = np.array([rounded, rounded * np.float16(7.5)], "<f2").view(np.uint8)
    blocks[:, :4] = pair
    blocks[:, 8:12] = blocks[:, 4:8]  # low six bits of m0 … m3, high two of m4 … m7
    blocks[:, 12:16] = blocks[:, 12:16] & 15  # low four bits of s4 … s7
    blocks[:, 12:16] *= 17  # and the same of m4 … m7
