"""Every rule for ONNX graphs, broken once; and honest graphs of all layouts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from harness.errors import SpecError
from harness.models.export_onnx import FORMATS, export_onnx
from harness.models.reference import materialise, network
from harness.preflight import onnx_checker
from harness.preflight.onnx import check
from harness.preflight.onnx_operators import MICROSOFT
from harness.preflight.onnx_rules import RULES
from harness.preflight.onnx_wire import read_model
from tests.backends.plain_graph import write_plain_folder
from tests.preflight.graphs import model, save

PRODUCT = "y = com.microsoft.MatMulNBits<K = 16, N = 16, bits = 4, block_size = 16>(x, b, s)"


def quantised(text: str = PRODUCT, **changed: np.ndarray) -> ModelProto:
    """A product with 4-bit weights `b` and scales `s`, and what else is given."""
    made = model(text)
    arrays = {"b": np.zeros((16, 1, 8), np.uint8), "s": np.ones(16, np.float32)} | changed
    for name, array in arrays.items():
        made.graph.initializer.append(numpy_helper.from_array(array, name))
    return made


def called(body: str = "o = Neg(i)", domain: str = "own") -> ModelProto:
    """A graph that calls a local function `own.f`."""
    text = (
        f"""<domain: "{domain}", opset_import: ["" : 21, "{domain}" : 1]> f (i) => (o) {{{body}}}"""
    )
    made = model(f"y = {domain}.f(x)", imports=f', "{domain}" : 1')
    made.functions.append(onnx.parser.parse_function(text))
    return made


def within(depth: int) -> ModelProto:
    """Branches inside of branches."""
    inner = helper.make_graph([helper.make_node("Neg", ["x"], ["n"])], "leaf", [], [])
    for level in range(depth):
        node = helper.make_node("If", ["c"], [f"r{level}"], then_branch=inner, else_branch=inner)
        inner = helper.make_graph([node], "branch", [], [])
    made = model("c = Constant<value_int = 1>()  y = Neg(x)")
    made.graph.node.extend(inner.node)
    return made


# --- honest ones ------------------------------------------------------------------------


@pytest.mark.parametrize("quant", FORMATS)
def test_our_own_exports_pass(tmp_path: Path, quant: str) -> None:
    path = materialise(f"ref-2m.{quant}.onnx") / "model.onnx"
    facts = check(path, path.parent)
    assert not facts["synthetic"]
    assert facts["weights"]["body_parameters"] == 1_572_864
    made, reader = read_model(path)
    assert onnx_checker.check(made, reader)  # the checker was asked as well
    other = tmp_path / "positions"
    path = export_onnx(network("ref-2m"), other, quant, logits_rows=False, position_ids=True)
    check(path, other)


def test_weights_beside_the_graph_pass(tmp_path: Path) -> None:
    """As onnx itself saves them, in the layout of Transformers.js."""
    source = materialise("ref-2m.int4.onnx")
    shutil.copy(source / "tokenizer.json", tmp_path)
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 2048}', "utf-8")
    (tmp_path / "onnx").mkdir()
    path = tmp_path / "onnx" / "model_q4.onnx"
    onnx.save(
        onnx.load(source / "model.onnx"),
        path,
        save_as_external_data=True,
        location="model_q4.onnx_data",
        size_threshold=128,
    )
    inline = check(source / "model.onnx", source)
    assert path.stat().st_size < 100_000
    assert check(path, tmp_path) == inline | {"files": ["model_q4.onnx_data"]}


@pytest.mark.parametrize("half", [False, True])
def test_a_graph_of_standard_operators_passes(tmp_path: Path, *, half: bool) -> None:
    tokenizer = materialise("ref-2m.int4.onnx") / "tokenizer.json"
    folder = write_plain_folder(tmp_path / "plain", tokenizer, 64, half=half)
    check(folder / "decoder.onnx", folder)


@pytest.mark.parametrize(
    "made",
    [
        model(),
        model(imports=', "com.microsoft.nchwc" : 1, "org.pytorch.aten" : 1'),  # as ORT saves
        model("y = SimplifiedLayerNormalization<axis = -1>(x, w)"),
        model("y = LayerNormalization<axis = -1>(x, w)", opset=14),
        called(),
        within(3),
        quantised(),
        quantised(PRODUCT.replace("s)", "s, z)"), z=np.zeros((16, 1), np.uint8)),
        quantised(PRODUCT.replace("s)", "s, , g)"), g=np.zeros(16, np.int32)),
    ],
    ids=lambda made: made.graph.node[-1].op_type,
)
def test_what_honest_tools_write_passes(tmp_path: Path, made: ModelProto) -> None:
    check(save(tmp_path, made), tmp_path)


def test_tensors_of_every_type_pass(tmp_path: Path) -> None:
    made = model()
    for name, number in TensorProto.DataType.items():
        if name not in {"UNDEFINED", "FLOAT6E2M3", "FLOAT6E3M2"}:
            values = [b"a"] * 3 if name == "STRING" else [1, 1, 1]
            made.graph.initializer.append(helper.make_tensor(name, number, [3], values))
            if name != "STRING":
                raw = helper.make_tensor(f"{name}-raw", number, [3], values)
                array = numpy_helper.to_array(raw)
                made.graph.initializer.append(numpy_helper.from_array(array, f"{name}-raw"))
    check(save(tmp_path, made), tmp_path)


# --- hostile ones -----------------------------------------------------------------------


def tensor(**fields: object) -> Callable[[], ModelProto]:
    """A graph whose weight has other fields."""

    def build() -> ModelProto:
        made = model()
        weight = made.graph.initializer[0]
        for name, value in fields.items():
            weight.ClearField(name)
            if isinstance(value, list):
                getattr(weight, name).extend(value)
            else:
                setattr(weight, name, value)
        return made

    return build


def changed(change: Callable[[ModelProto], object], *arguments: object) -> Callable[[], ModelProto]:
    """`model()` after a change."""

    def build() -> ModelProto:
        made = model(*arguments)
        change(made)
        return made

    return build


def node(*arguments: object, **fields: object) -> Callable[[], ModelProto]:
    """`model()` with one more node."""
    return changed(lambda made: made.graph.node.append(helper.make_node(*arguments, **fields)))


def sparse(dims: list[int], indices: np.ndarray) -> Callable[[], ModelProto]:
    values = numpy_helper.from_array(np.ones(2, np.float32), "s")
    found = helper.make_sparse_tensor(values, numpy_helper.from_array(indices, "i"), dims)
    return changed(lambda made: made.graph.sparse_initializer.append(found))


def attribute(**fields: object) -> Callable[[], ModelProto]:
    def change(made: ModelProto) -> None:
        made.graph.node[0].attribute.append(onnx.AttributeProto(**fields))

    return changed(change)


def doubling() -> ModelProto:
    """Twenty functions, each of which calls the next one twice: a million nodes."""
    made = called("a = own.f0(i) o = Neg(a)")
    for level in range(20):
        body = "o = Neg(i)" if level == 19 else f"a = own.f{level + 1}(i) o = own.f{level + 1}(a)"
        text = f'<domain: "own", opset_import: ["" : 21, "own" : 1]> f{level} (i) => (o) {{{body}}}'
        made.functions.append(onnx.parser.parse_function(text))
    return made


def unplaced() -> ModelProto:
    """External data that a reader may use or not."""
    made = model()
    made.graph.initializer[0].external_data.add(key="location", value="a")
    return made


def aliases() -> ModelProto:
    """Sparse tensors of a few bytes that the engine would spread out to gigabytes."""
    return sparse([1 << 20, 1 << 20], np.array([[0, 0], [1, 1]]))()


HOSTILE: list[tuple[str, Callable[[], ModelProto], str]] = [
    ("onnx_version", changed(lambda m: setattr(m, "ir_version", 99)), "IR version 99"),
    ("onnx_version", lambda: model(opset=999), "opset 999 of ''"),
    ("onnx_training", changed(lambda m: m.training_info.add()), "training information"),
    ("onnx_ambiguous", changed(lambda m: [m.metadata_props.add(key="a") for _ in "ab"]), "share"),
    ("onnx_setting", changed(lambda m: m.metadata_props.add(key="ort_config")), "ort_config"),
    ("onnx_ambiguous", lambda: model(imports=', "ai.onnx" : 21'), "a second opset of ''"),
    ("onnx_damaged", changed(lambda m: m.ClearField("graph")), "there is no graph"),
    ("onnx_domain", lambda: model(imports=', "com.evil" : 1'), "the domain 'com.evil'"),
    ("onnx_domain", lambda: model(imports=', "ai.onnx.contrib" : 1'), "'ai.onnx.contrib'"),
    ("onnx_domain", node("PyOp", ["x"], ["z"], domain="com.evil"), "'PyOp' of domain 'com.evil'"),
    ("onnx_domain", node("Scaler", ["x"], ["z"], domain="ai.onnx.ml"), "'Scaler' of domain"),
    ("onnx_domain", lambda: called(domain="com.microsoft.mine"), "a function in the domain"),
    ("onnx_domain", lambda: called(domain="ai.onnx.contrib"), "a function in the domain"),
    ("onnx_operator", node("ImageDecoder", ["x"], ["z"]), "'ImageDecoder' of domain 'ai.onnx'"),
    ("onnx_operator", node("BeamSearch", ["x"], ["z"], domain=MICROSOFT), "'BeamSearch'"),
    ("onnx_function", lambda: called("o = own.f(i)"), "'f' calls itself"),
    ("onnx_function", changed(lambda m: m.functions.add(domain="own")), "it has no name"),
    ("onnx_limit", doubling, "nodes once its functions are inlined"),
    ("onnx_limit", lambda: within(9), "9 subgraphs inside each other"),
    ("onnx_attribute", attribute(name="a", type=2, f=1.0), "type 2 with f"),
    ("onnx_attribute", attribute(name="a", type=2, i=1, ints=[1]), "type 2 with i, ints"),
    ("onnx_attribute", attribute(name="a", i=1), "type 0 with i"),
    ("onnx_attribute", attribute(name="a", type=2, ref_attr_name="b"), "type 2 with nothing"),
    ("onnx_attribute", attribute(name="a", type=5, g=onnx.GraphProto()), "a graph inside of Add"),
    ("onnx_attribute", attribute(type=2, i=1), "attribute '' again, or unnamed"),
    ("onnx_name", node("Neg", ["x"], ["y"]), "'y' is made a second time"),
    ("onnx_name", node("Neg", ["y"], ["x"]), "'x' is made a second time"),
    ("onnx_name", tensor(name=""), "tensor without a name"),
    ("onnx_name", changed(lambda m: m.graph.initializer.append(m.graph.initializer[0])), "2 ten"),
    ("onnx_tensor", tensor(dims=[-16]), "the shape [-16]"),
    ("onnx_tensor", tensor(dims=[1] * 17), "the shape [1, 1"),
    ("onnx_tensor", tensor(dims=[2**32, 2**32]), "needs 73786976294838206464"),
    ("onnx_tensor", tensor(data_type=99), "element type 99"),
    ("onnx_tensor", tensor(data_type=27), "element type 27"),
    ("onnx_tensor", tensor(dims=[17]), "64 bytes for the shape [17] of type 1, which needs 68"),
    ("onnx_tensor", tensor(raw_data=b""), "0 bytes for the shape [16] of type 1, which needs 64"),
    ("onnx_tensor", tensor(float_data=[1.0]), "data in several fields"),
    ("onnx_tensor", tensor(raw_data=b"", int64_data=[1] * 16), "int64_data for element type 1"),
    ("onnx_tensor", tensor(raw_data=b"", float_data=[1.0]), "1 numbers in float_data"),
    ("onnx_tensor", tensor(data_type=8), "0 strings for the shape [16] of type 8"),
    ("onnx_tensor", sparse([-4], np.array([0, 1])), "the shape [-4]"),
    ("onnx_tensor", sparse([4, 4], np.array([0, 1, 2])), "[2] values at [3] indices"),
    ("onnx_external", tensor(data_location=1, raw_data=b""), "without a location"),
    ("onnx_external", tensor(data_location=1), "data inside the graph as well"),
    ("onnx_external", unplaced, "external data with data_location 0"),
    ("onnx_memory", aliases, "4398046511"),
    ("onnx_checker", node("Neg", ["nowhere"], ["z"]), "nowhere"),
    ("onnx_checker", node("Neg", ["x", "x"], ["z"]), "Neg"),
]


@pytest.mark.parametrize(("reason", "build", "words"), HOSTILE)
def test_hostile_graphs_are_refused(
    tmp_path: Path, reason: str, build: Callable[[], ModelProto], words: str
) -> None:
    path = save(tmp_path, build())
    with pytest.raises(SpecError) as caught:
        check(path, tmp_path)
    error = caught.value
    assert error.reason == reason, error
    assert words in error.message
    assert error.where.startswith(str(path))
    assert error.allowed == RULES[reason]
    assert error.hint


def heads(**numbers: int) -> str:
    given = ", ".join(f"{name} = {value}" for name, value in numbers.items())
    return f"y = com.microsoft.GroupQueryAttention<{given}>(x, x, x, , , n, n)"


SHAPES = [
    (PRODUCT.replace("K = 16", "K = 4096"), {}, "B has 128 of type 2, not 32768"),
    (PRODUCT.replace("N = 16", "N = -1"), {}, "N is -1"),
    (PRODUCT.replace("bits = 4", "bits = 8"), {}, "B has 128 of type 2, not 256"),
    (PRODUCT.replace("bits = 4", "bits = 3"), {}, "3 bits in blocks of 16"),
    (PRODUCT.replace("size = 16", "size = 24"), {}, "4 bits in blocks of 24"),
    (PRODUCT, {"b": np.zeros((16, 1, 8), np.int8)}, "B has 128 of type 3"),
    (PRODUCT, {"s": np.ones(8, np.float32)}, "scales has 8 of type 1, not 16"),
    (PRODUCT.replace("b, s", "x, s"), {}, "B is not a constant"),
    (PRODUCT.replace("K =", "weight_prepacked = 1, K ="), {}, "weight_prepacked is 1"),
    (PRODUCT.replace("s)", "s, z)"), {"z": np.zeros(3, np.uint8)}, "zero_points has 3"),
    ("c = Cast<to = 1>(s) " + PRODUCT.replace("s)", "c)"), {"s": np.ones(8, np.half)}, "has 8"),
    (heads(num_heads=3, kv_num_heads=2), {}, "3 heads share 2"),
    (heads(num_heads=2, kv_num_heads=0), {}, "kv_num_heads is 0"),
    (heads(kv_num_heads=1), {}, "num_heads is None"),
    (
        "y = com.microsoft.GatherBlockQuantized<block_size = 16, quantize_axis = 1>(b, i, s)",
        {"b": np.zeros((4, 16), np.uint8), "s": np.ones((4, 1), np.float32)},
        "scales of shape [4, 1], not [4, 2]",
    ),
    (
        "y = com.microsoft.RotaryEmbedding(x, i, b, s)",
        {"b": np.zeros((4, 8), np.float32), "s": np.ones((4, 1), np.float32)},
        "cosines [4, 8] and sines [4, 1]",
    ),
    (
        "y = com.microsoft.MatMulBnb4<K = 16, N = 16, block_size = 16, quant_type = 1>(x, b, s)",
        {"b": np.zeros(127, np.uint8)},
        "B has 127 of type 2, not 128",
    ),
    (
        "y = com.microsoft.QMoE<k = 1>(x, x, b, s, , b, t)",
        {
            "b": np.zeros((2, 16, 8), np.uint8),
            "s": np.ones((2, 16), np.float32),
            "t": np.ones((2, 15), np.float32),
        },
        "scales has 30 of type 1, not 32",
    ),
]


@pytest.mark.parametrize(("text", "arrays", "words"), SHAPES)
def test_operators_that_trust_their_attributes(
    tmp_path: Path, text: str, arrays: dict[str, np.ndarray], words: str
) -> None:
    with pytest.raises(SpecError) as caught:
        check(save(tmp_path, quantised(text, **arrays)), tmp_path)
    assert caught.value.reason == "onnx_shape"
    assert words in caught.value.message


def test_numbers_that_only_the_caller_of_a_function_knows(tmp_path: Path) -> None:
    made = called("o = com.microsoft.RotaryEmbedding<num_heads: int = @heads>(i, i, i, i)")
    made.functions[0].opset_import.add(domain=MICROSOFT, version=1)
    with pytest.raises(SpecError, match="num_heads is -4611686018427387904"):
        check(save(tmp_path, made), tmp_path)


def test_an_integer_that_is_not_written_is_zero(tmp_path: Path) -> None:
    made = quantised()
    for attribute in made.graph.node[0].attribute:
        if attribute.name == "bits":
            attribute.ClearField("i")
    with pytest.raises(SpecError, match="bits is 0"):
        check(save(tmp_path, made), tmp_path)


def test_inputs_that_nobody_could_allocate(tmp_path: Path) -> None:
    made = model()
    made.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1 << 40
    with pytest.raises(SpecError, match="dimensions") as caught:
        check(save(tmp_path, made), tmp_path)
    assert caught.value.reason == "onnx_shape"


def test_a_forged_name_cannot_speak_to_the_terminal(tmp_path: Path) -> None:
    made = model()
    made.graph.node[0].name = "\x1b]8;;http://evil\x07\n"
    made.graph.node[0].op_type = "Evil\u202e"
    with pytest.raises(SpecError) as caught:
        check(save(tmp_path, made), tmp_path)
    assert "\\u001b" in caught.value.where
    assert all(line.isprintable() for line in str(caught.value).split("\n"))


def test_every_rule_is_one_that_some_test_breaks() -> None:
    tested = {reason for reason, _, _ in HOSTILE} | {"onnx_shape"}
    elsewhere = {"onnx_unknown_field", "onnx_external_path", "onnx_external_link"}
    elsewhere |= {"onnx_external_missing", "onnx_external_range", "onnx_external_unhashed"}
    assert {rule for rule in RULES if rule.startswith("onnx")} == tested | elsewhere


def test_stamped_weights_are_told(tmp_path: Path) -> None:
    made = model()
    helper.set_model_props(made, {"synthetic": "true"})
    assert check(save(tmp_path, made), tmp_path)["synthetic"] is True


# --- genai_config.json ------------------------------------------------------------------


def configured(folder: Path, change: Callable[[dict[str, dict]], object]) -> Path:
    """The honest configuration of our exporter after a change, with a graph beside it."""
    source = materialise("ref-2m.int4.onnx") / "genai_config.json"
    config = json.loads(source.read_text("utf-8"))
    change(config)
    (folder / "genai_config.json").write_text(json.dumps(config), "utf-8")
    return save(folder, model())


def decoder(**values: object) -> Callable[[dict[str, dict]], object]:
    return lambda config: config["model"]["decoder"].update(values)


def session(**values: object) -> Callable[[dict[str, dict]], object]:
    return lambda config: config["model"]["decoder"]["session_options"].update(values)


@pytest.mark.parametrize(
    "change",
    [
        decoder(),
        decoder(filename="model_q4.onnx", sliding_window={"window_size": 128}),
        session(provider_options=[{"cuda": {"enable_cuda_graph": "0"}}], intra_op_num_threads=4),
        lambda config: config["model"].update(pad_token_id=3, eos_token_id=[1, 2]),
    ],
)
def test_configurations_of_model_builder_pass(
    tmp_path: Path, change: Callable[[dict[str, dict]], object]
) -> None:
    check(configured(tmp_path, change), tmp_path)


@pytest.mark.parametrize(
    ("change", "reason", "words"),
    [
        (decoder(filename="/etc/model.onnx"), "genai_path", "filename is '/etc/model.onnx'"),
        (decoder(filename="../model.onnx"), "genai_path", "filename is '../model.onnx'"),
        (decoder(filename="model.so"), "genai_path", "filename is 'model.so'"),
        (decoder(filename=["a"]), "genai_path", "filename is"),
        (decoder(pipeline=[{"a": {}}]), "genai_setting", "the list 'model.decoder.pipeline'"),
        (session(custom_ops_library="evil.so"), "genai_setting", "custom_ops_library"),
        (session(enable_profiling="/tmp/x"), "genai_setting", "enable_profiling"),
        (session(optimized_model_filepath="x"), "genai_setting", "optimized_model_filepath"),
        (session(log_id="..\\x"), "genai_path", "session_options.log_id is '..\\x'"),
        (
            session(provider_options=[{"qnn": {"backend_path": "QnnHtp.dll"}}]),
            "genai_setting",
            "the provider 'qnn' with the options 'backend_path'",
        ),
        (session(provider_options=[{"cuda": {"library": 1}}]), "genai_setting", "'cuda'"),
        (session(provider_options="cpu"), "genai_setting", "no list of objects"),
        (lambda config: config.update(vision={}), "genai_setting", "the section 'vision'"),
        (lambda config: config["model"].update(type="evil.dll"), "genai_path", "evil.dll"),
        (decoder(inputs={"past_key_names": "%9999999d"}), "genai_name", "'%9999999d'"),
        (decoder(inputs={"past_key_names": "past"}), "genai_name", "'past'"),
        (decoder(outputs={"logits": "%s"}), "genai_name", "'%s'"),
        (decoder(outputs={"logits": 7}), "genai_name", "'7'"),
        (decoder(outputs=7), "genai_name", "no object"),
        (lambda config: config.update(model=7), "genai_setting", "'model' is no object"),
    ],
)
def test_configurations_that_steer_are_refused(
    tmp_path: Path, change: Callable[[dict[str, dict]], object], reason: str, words: str
) -> None:
    path = configured(tmp_path, change)
    with pytest.raises(SpecError) as caught:
        check(path, tmp_path)
    assert caught.value.reason == reason
    assert words in caught.value.message
    assert "genai_config.json" in caught.value.where
