"""A one-layer decoder of standard ONNX operators: its cache grows, as in graphs without GQA."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np

VOCABULARY, HIDDEN, HEADS = 320, 16, 2

GRAPH = """
<ir_version: 10, opset_import: ["" : 21]>
plain (int64[batch, tokens] ids, int64[batch, total] mask, int64[batch, tokens] places,
       TYPE[BATCH, 2, past, 8] key_0, TYPE[BATCH, 2, past, 8] value_0)
   => (TYPE[BATCH, tokens, 320] scores,
       TYPE[BATCH, 2, total, 8] new_key_0, TYPE[BATCH, 2, total, 8] new_value_0)
{
   word = Gather(table, ids)
   place = Gather(place_table, places)
   x = Add(word, place)
   heads_shape = Constant<value_ints = [0, -1, 2, 8]>()
   flat_shape = Constant<value_ints = [0, -1, 16]>()
   q0 = MatMul(x, query)
   q1 = Reshape(q0, heads_shape)
   q = Transpose<perm = [0, 2, 1, 3]>(q1)
   k0 = MatMul(x, key)
   k1 = Reshape(k0, heads_shape)
   k2 = Transpose<perm = [0, 2, 1, 3]>(k1)
   old_key = Cast<to = 1>(key_0)
   k = Concat<axis = 2>(old_key, k2)
   v0 = MatMul(x, value)
   v1 = Reshape(v0, heads_shape)
   v2 = Transpose<perm = [0, 2, 1, 3]>(v1)
   old_value = Cast<to = 1>(value_0)
   v = Concat<axis = 2>(old_value, v2)
   zero = Constant<value_int = 0>()
   one = Constant<value_int = 1>()
   axis = Constant<value_ints = [1]>()
   mask_shape = Shape(mask)
   total_width = Gather(mask_shape, one)
   columns = Range(zero, total_width, one)
   last = Constant<value_ints = [2]>()
   rows = Unsqueeze(places, last)
   seen_2d = LessOrEqual(columns, rows)
   seen = Unsqueeze(seen_2d, axis)
   low = Constant<value_float = -10000.0>()
   none = Constant<value_float = 0.0>()
   bias = Where(seen, none, low)
   kt = Transpose<perm = [0, 1, 3, 2]>(k)
   raw = MatMul(q, kt)
   masked = Add(raw, bias)
   weights = Softmax<axis = -1>(masked)
   mixed = MatMul(weights, v)
   m1 = Transpose<perm = [0, 2, 1, 3]>(mixed)
   m2 = Reshape(m1, flat_shape)
   y = Add(x, m2)
   full = MatMul(y, head)
   scores = Cast<to = CODE>(full)
   new_key_0 = Cast<to = CODE>(k)
   new_value_0 = Cast<to = CODE>(v)
}
"""


def write_plain_folder(
    folder: Path, tokenizer: Path, context: int, *, half: bool = False, batch: str = "1"
) -> Path:
    """Write a Model Builder folder with names of its own.

    `half` makes cache and logits float16; `batch` is the cache's first dimension.
    """
    import onnx
    from onnx import numpy_helper

    text = GRAPH.replace("TYPE", "float16" if half else "float").replace("BATCH", batch)
    text = text.replace("CODE", "10" if half else "1")
    model = onnx.parser.parse_model(text)
    random = np.random.default_rng(5)
    shapes = {
        "table": (VOCABULARY, HIDDEN),
        "place_table": (context, HIDDEN),
        "query": (HIDDEN, HIDDEN),
        "key": (HIDDEN, HIDDEN),
        "value": (HIDDEN, HIDDEN),
        "head": (HIDDEN, VOCABULARY),
    }
    for name, shape in shapes.items():
        values = random.standard_normal(shape, np.float32) / 2
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    folder.mkdir()
    (folder / "decoder.onnx").write_bytes(model.SerializeToString())
    shutil.copyfile(tokenizer, folder / "tokenizer.json")
    config = {
        "model": {
            "context_length": context,
            "eos_token_id": [1, 0],
            "vocab_size": VOCABULARY,
            "decoder": {
                "filename": "decoder.onnx",
                "inputs": {
                    "input_ids": "ids",
                    "attention_mask": "mask",
                    "position_ids": "places",
                    "past_key_names": "key_%d",
                    "past_value_names": "value_%d",
                },
                "outputs": {
                    "logits": "scores",
                    "present_key_names": "new_key_%d",
                    "present_value_names": "new_value_%d",
                },
            },
        }
    }
    (folder / "genai_config.json").write_text(json.dumps(config), "utf-8")
    return folder
