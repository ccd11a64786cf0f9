"""One thing wrong with a good model at a time: what the check says, and what TensorFlow's loaders say.

The mutations are of the model that ``test_check_models.py`` saves. Each is either refused by a loader, or it is
there for the reason that its comment gives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from mexport_pb import messages as mm
from mexport_pb._proto.control_flow_pb2 import CondContextDef, WhileContextDef
from mexport_pb._proto.graph_pb2 import FunctionDef, NodeDef, OpDef
from mexport_pb._proto.queue_runner_pb2 import QueueRunnerDef
from mexport_pb._proto.saved_model_pb2 import AssetFileDef, MetaGraphDef
from mexport_pb._proto.saver_pb2 import SaverDef
from mexport_pb._proto.tensor_pb2 import TensorShapeProto
from mexport_pb._proto.variable_pb2 import VariableDef

__all__ = ["ABORTS", "BROKEN", "LOADED", "Broken", "add_node", "asset_of", "node", "set_assets"]

ABORTS = "the process is aborted"
"""Of the C++ loader, for some graphs."""


class Broken(NamedTuple):
    """A mutation and the verdicts on it.

    Attributes:
        name: What is wrong.
        change: Breaks a meta graph.
        found: The error that the check reports, or the beginning of it, with its place.
        cpp: A piece of what the C++ loader says; None if it loads the model.
        python: A piece of what the Python loader says; None if it loads the model.
    """

    name: str
    change: Callable[[MetaGraphDef], Any]
    found: str
    cpp: str | None
    python: str | None


def node(meta_graph: MetaGraphDef, name: str) -> NodeDef:
    return next(node for node in meta_graph.graph_def.node if node.name == name)


def add_node(meta_graph: MetaGraphDef, op: str, name: str, *inputs: str, **types: str) -> NodeDef:
    """Append a node whose attributes are all types."""
    attrs = {key: mm.make_attr_value(value, "type") for key, value in types.items()}
    meta_graph.graph_def.node.append(mm.make_node_def(op, name, inputs, attrs=attrs))
    return meta_graph.graph_def.node[-1]


def function(meta_graph: MetaGraphDef, part: str) -> FunctionDef:
    return next(f for f in meta_graph.graph_def.library.function if part in f.signature.name)


def body_node(meta_graph: MetaGraphDef, part: str, op: str) -> NodeDef:
    return next(node for node in function(meta_graph, part).node_def if node.op == op)


def asset_of(meta_graph: MetaGraphDef) -> AssetFileDef:
    return mm.unpack_asset_file_def(meta_graph.collection_def["saved_model_assets"].any_list.value[0])


def set_assets(meta_graph: MetaGraphDef, *assets: AssetFileDef) -> None:
    packed = mm.make_any_list([mm.pack_asset_file_def(asset) for asset in assets])
    meta_graph.collection_def["saved_model_assets"].CopyFrom(packed)


def set_attr(node: NodeDef, key: str, value: Any, kind: str) -> None:
    node.attr[key].CopyFrom(mm.make_attr_value(value, kind))


def set_input(meta_graph: MetaGraphDef, name: str, position: int, tensor: str) -> None:
    node(meta_graph, name).input[position] = tensor


def put(meta_graph: MetaGraphDef, key: str, *messages: Any) -> None:
    """Append serialised messages, or bytes, to a collection."""
    values = meta_graph.collection_def[key].bytes_list.value
    values.extend(one if isinstance(one, bytes) else mm.serialize(one) for one in messages)


def change_variable(meta_graph: MetaGraphDef, **fields: str) -> None:
    value = meta_graph.collection_def["variables"].bytes_list.value
    variable = mm.parse(VariableDef, value[0])
    for field, name in fields.items():
        setattr(variable, field, name)
    value[0] = mm.serialize(variable)


def change_return(meta_graph: MetaGraphDef) -> None:
    branch = function(meta_graph, "choice_true")
    branch.ret[next(iter(branch.ret))] = "nowhere:z:0"


def drop_return(meta_graph: MetaGraphDef) -> None:
    branch = function(meta_graph, "choice_true")
    branch.ret.pop(next(iter(branch.ret)))


def change_ref(meta_graph: MetaGraphDef) -> None:
    numbers = node(meta_graph, "numbers")
    numbers.attr["dtype"].type = numbers.attr["value"].tensor.dtype = 103


def change_gradient(meta_graph: MetaGraphDef, *pairs: tuple[str, str]) -> None:
    for name, gradient in pairs:
        meta_graph.graph_def.library.gradient.add(function_name=name, gradient_func=gradient)


def two_gradients(meta_graph: MetaGraphDef) -> None:
    names = [function(meta_graph, part).signature.name for part in ("choice_true", "choice_false")]
    change_gradient(meta_graph, (names[0], names[0]), (names[0], names[1]))


def two_functions(meta_graph: MetaGraphDef) -> None:
    meta_graph.graph_def.library.function.add(signature=OpDef(name=function(meta_graph, "choice_true").signature.name))


def say_shape(meta_graph: MetaGraphDef, name: str, *shapes: list[int]) -> None:
    node(meta_graph, name).attr["_output_shapes"].CopyFrom(mm.make_attr_value(list(shapes), "list(shape)"))


def unlist(meta_graph: MetaGraphDef, op: str) -> None:
    listed = meta_graph.meta_info_def.stripped_op_list.op
    listed.remove(next(one for one in listed if one.name == op))


def lose_type_of_unlisted(meta_graph: MetaGraphDef) -> None:
    unlist(meta_graph, "AddV2")
    body_node(meta_graph, "choice_true", "AddV2").attr.pop("T")


def lose_input_and_list(meta_graph: MetaGraphDef) -> None:
    meta_graph.meta_info_def.ClearField("stripped_op_list")
    node(meta_graph, "y").input.pop()


def add_input_to_unlisted(meta_graph: MetaGraphDef) -> None:
    unlist(meta_graph, "AddV2")
    one = body_node(meta_graph, "choice_true", "AddV2")
    one.input.insert(0, one.input[0])


def cyclic_body(meta_graph: MetaGraphDef) -> None:
    one = body_node(meta_graph, "choice_true", "AddV2")
    one.input.append("^" + one.name)


def put_context(meta_graph: MetaGraphDef, key: str, cls: Any, **fields: str) -> None:
    context = mm.parse(cls, meta_graph.collection_def[key].bytes_list.value[0])
    for field, name in fields.items():
        setattr(context, field, name)
    put(meta_graph, key, context)


INIT = "__saved_model_init_op"

BROKEN = [
    # Names and inputs.
    Broken(
        "name twice",
        lambda m: add_node(m, "NoOp", "y"),
        "node 'y': the name is taken",
        "INVALID_ARGUMENT: Node 'y' is not unique",
        "ValueError: Node 'y' is not unique",
    ),
    Broken(
        "name with a space",
        lambda m: add_node(m, "NoOp", "a b"),
        "node 'a b': illegal name: want letters, digits and any of '_.-/>', a letter or digit first",
        "INVALID_ARGUMENT: Node 'a b': Node name contains invalid characters",
        "ValueError: Node 'a b': Node name contains invalid characters",
    ),
    Broken(
        "name with an underscore first",
        lambda m: add_node(m, "NoOp", "_a"),
        "node '_a': illegal name: want letters, digits and any of '_.-/>', a letter or digit first",
        "INVALID_ARGUMENT: Node '_a': Node name contains invalid characters",
        "ValueError: Node '_a': Node name contains invalid characters",
    ),
    Broken(
        "name that ends in >",
        lambda m: add_node(m, "NoOp", "a>"),
        "node 'a>': illegal name: want letters, digits and any of '_.-/>', a letter or digit first",
        "INVALID_ARGUMENT: Node 'a>': Node name contains invalid characters",
        "ValueError: Node 'a>': Node name contains invalid characters",
    ),
    Broken(
        "name with a line end",
        lambda m: add_node(m, "NoOp", "a\n"),
        "node 'a\\n': illegal name: want letters, digits and any of '_.-/>', a letter or digit first",
        "INVALID_ARGUMENT: Node 'a\n': Node name contains invalid characters",
        "ValueError: Node 'a\n': Node name contains invalid characters",
    ),
    Broken(
        "name with an accent",
        lambda m: add_node(m, "NoOp", "é"),
        "node 'é': illegal name: want letters, digits and any of '_.-/>', a letter or digit first",
        "INVALID_ARGUMENT: Node 'é': Node name contains invalid characters",
        "ValueError: Node 'é': Node name contains invalid characters",
    ),
    Broken(
        "no name",
        lambda m: add_node(m, "NoOp", ""),
        "node '': illegal name: want letters, digits and any of '_.-/>', a letter or digit first",
        "INVALID_ARGUMENT: Node '': Node name contains invalid characters",
        "ValueError: Node '': Node name contains invalid characters",
    ),
    Broken(
        "no op",
        lambda m: add_node(m, "", "a"),
        "node 'a': no op",
        "NOT_FOUND: Op type not registered '' in binary",
        "ValueError: Node 'a' does not specify an operation",
    ),
    Broken(
        "missing input",
        lambda m: add_node(m, "Identity", "a", "nowhere", T="float32"),
        "node 'a': input 'nowhere': there is no node 'nowhere'",
        "INVALID_ARGUMENT: Node 'a': Unknown input node 'nowhere",
        "ValueError: Node 'a': Unknown input node 'nowhere",
    ),
    Broken(
        "input that is no tensor's name",
        lambda m: set_input(m, "y", 0, "x:"),
        "node 'y': input 'x:': not the name of a tensor",
        "INVALID_ARGUMENT: Node 'y': Unknown input node 'x:",
        "ValueError: Node 'y': Unknown input node 'x:",
    ),
    Broken(
        "missing control input",
        lambda m: add_node(m, "NoOp", "a", "^nowhere"),
        "node 'a': control input '^nowhere': there is no such node",
        "INVALID_ARGUMENT: Node 'a': Unknown input node '^nowhere",
        "ValueError: Node 'a': Unknown input node '^nowhere",
    ),
    Broken(
        "control before data",
        lambda m: node(m, "y").input.insert(0, "^x"),
        "node 'y': data input 'mul' comes after a control input",
        "INVALID_ARGUMENT: Node 'y': Control dependencies must come after",
        "ValueError: Node 'y': Control dependencies must come after regular",
    ),
    Broken(
        "output index",
        lambda m: set_input(m, "y", 0, "x:1"),
        "node 'y': input 'x:1': there is no such output, it has 1",
        "INVALID_ARGUMENT: Node 'y': Connecting to invalid output 1 of source",
        "ValueError: Node 'y': Connecting to invalid output 1 of source node x",
    ),
    Broken(
        "output of none",
        lambda m: set_input(m, "y", 0, "main"),
        "node 'y': input 'main': there is no such output, it has 0",
        "INVALID_ARGUMENT: Node 'y': Connecting to invalid output 0 of source",
        "ValueError: Node 'y': Connecting to invalid output 0 of source node",
    ),
    Broken(
        "too many inputs",
        lambda m: node(m, "y").input.append("mul"),
        "node 'y': number of inputs of 'Identity': got 2, want 1",
        "INVALID_ARGUMENT: Input 1 of node y does not exist",
        "ValueError: NodeDef expected inputs 'float' do not match 2 inputs",
    ),
    Broken(
        "too few inputs",
        lambda m: node(m, "y").input.pop(),
        "node 'y': number of inputs of 'Identity': got 0, want 1",
        ABORTS,
        "ValueError: NodeDef expected inputs 'float' do not match 0 inputs",
    ),
    Broken(
        "too few inputs, and no op list",
        lose_input_and_list,
        "node 'y': number of inputs of 'Identity': got 0, want 1",
        ABORTS,
        "ValueError: NodeDef expected inputs 'float' do not match 0 inputs",
    ),
    Broken(
        "another output shape than that of the value",
        lambda m: say_shape(m, "numbers", [7, 7]),
        "node 'numbers': attribute '_output_shapes': got [7, 7], but attribute 'value' is of shape ",
        "INVALID_ARGUMENT: Node 'numbers' has an _output_shapes attribute inconsistent with the GraphDef for output #0",
        "ValueError: Node 'numbers' has an _output_shapes attribute inconsistent with the GraphDef for output #0",
    ),
    Broken(
        "another output shape than that of the placeholder",
        lambda m: say_shape(m, "x", [7, 7, 7]),
        "node 'x': attribute '_output_shapes': got [7, 7, 7], but attribute 'shape' is of shape ",
        "INVALID_ARGUMENT: Node 'x' has an _output_shapes attribute inconsistent with the GraphDef for output #0",
        "ValueError: Node 'x' has an _output_shapes attribute inconsistent with the GraphDef for output #0",
    ),
    Broken(
        "no output shape of a constant",
        lambda m: say_shape(m, "numbers"),
        "node 'numbers': attribute '_output_shapes': got no shape, want one for each output",
        "INVALID_ARGUMENT: Node 'numbers' has 1 outputs",
        "ValueError: Node 'numbers' has 1 outputs but the _output_shapes attribute specifies shapes for 0 outputs",
    ),
    Broken(
        "cycle",
        lambda m: node(m, "x").input.append("^y"),
        "node 'x': on a cycle or behind one, as 8 other nodes are",
        "INVALID_ARGUMENT: 9 nodes in a cycle",
        "ValueError: 9 nodes in a cycle",
    ),
    # Types of edges.
    Broken(
        "input of another dtype",
        lambda m: add_node(m, "Identity", "a", "x", T="int32"),
        "node 'a': input 'x': got string, want int32, as the attributes of this 'Identity' say",
        "INVALID_ARGUMENT: Input 0 of node a was passed string from x:0",
        "ValueError: Input 0 of node a was passed string from x:0 incompatible",
    ),
    Broken(
        "second input of another dtype",
        lambda m: set_input(m, "product", 1, "numbers"),
        "node 'product': input 'numbers': got int32, want float32, as the attributes of this 'MatMul'",
        "INVALID_ARGUMENT: Input 1 of node product was passed int32 from",
        "ValueError: Input 1 of node product was passed int32 from numbers:0",
    ),
    Broken(
        "input of a list of another dtype",
        lambda m: set_input(m, "both", 1, "numbers"),
        "node 'both': input 'numbers': got int32, want float32, as the attributes of this 'AddN' say",
        "INVALID_ARGUMENT: Input 1 of node both was passed int32 from",
        "ValueError: Input 1 of node both was passed int32 from numbers:0",
    ),
    Broken(
        "input where a reference is wanted",
        lambda m: set_attr(
            add_node(m, "Assign", "a", "features", "features", T="float32"), "use_locking", True, "bool"
        ),
        "node 'a': input 'features': got float32, want float32_ref, as the attributes of this 'Assign'",
        "INVALID_ARGUMENT: Input 0 of node a was passed float from features:0",
        "ValueError: Input 0 of node a was passed float from features:0",
    ),
    # Attributes.
    Broken(
        "type attribute missing",
        lambda m: node(m, "product").attr.pop("T"),
        "node 'product': attribute 'T' is missing: 'MatMul' needs it and has no default for it",
        "NOT_FOUND: No attr named 'T' in NodeDef:",
        "ValueError: NodeDef missing attr 'T' from Op<name=MatMul",
    ),
    Broken(
        "placeholder without dtype",
        lambda m: node(m, "features").attr.pop("dtype"),
        "node 'features': attribute 'dtype' is missing: 'Placeholder' needs it and has no default for it",
        "NOT_FOUND: No attr named 'dtype' in NodeDef:",
        "ValueError: NodeDef missing attr 'dtype' from Op<name=Placeholder",
    ),
    Broken(
        "branch missing",
        lambda m: node(m, "choice").attr.pop("then_branch"),
        "node 'choice': attribute 'then_branch' is missing: 'StatelessIf' needs it and has no default",
        "INVALID_ARGUMENT: Then branch function missing",
        "ValueError: NodeDef missing attr 'then_branch' from",
    ),
    Broken(
        "type given as string",
        lambda m: set_attr(node(m, "product"), "T", "x", "string"),
        "node 'product': attribute 'T': got a string, want a type",
        "INVALID_ARGUMENT: Input 0 of node product was passed float from",
        "ValueError: AttrValue had value with type 'string' when 'type",
    ),
    Broken(
        "shape given as string",
        lambda m: set_attr(node(m, "x"), "shape", "2", "string"),
        "node 'x': attribute 'shape': got a string, want a shape",
        "INVALID_ARGUMENT: AttrValue had value with type 'string' when 'shape",
        "ValueError: AttrValue had value with type 'string' when 'shape",
    ),
    Broken(
        "branch given as string",
        lambda m: set_attr(node(m, "choice"), "then_branch", "f", "string"),
        "node 'choice': attribute 'then_branch': got a string, want a func",
        "INVALID_ARGUMENT: Op type not registered '' in binary",
        "ValueError: AttrValue had value with type 'string' when 'func",
    ),
    Broken(
        "list given as one",
        lambda m: set_attr(node(m, "choice"), "Tin", "float32", "type"),
        "node 'choice': attribute 'Tin': got a type, want a list(type)",
        "INVALID_ARGUMENT: Input 1 of node choice does not exist",
        "ValueError: AttrValue had value with type 'type' when 'list(type)",
    ),
    Broken(
        "list of another kind",
        lambda m: set_attr(node(m, "choice"), "Tin", ["a"], "list(string)"),
        "node 'choice': attribute 'Tin': got a list(string), want a list(type)",
        "INVALID_ARGUMENT: Input 1 of node choice does not exist",
        "ValueError: AttrValue had value with type 'list(string)' when",
    ),
    Broken(
        "bool given as int",
        lambda m: set_attr(node(m, "product"), "transpose_a", 1, "int"),
        "node 'product': attribute 'transpose_a': got an int, want a bool",
        "INVALID_ARGUMENT: AttrValue had value with type 'int' when 'bool",
        "ValueError: AttrValue had value with type 'int' when 'bool' expected",
    ),
    Broken(
        "type that is not allowed",
        lambda m: add_node(m, "MatMul", "a", "x", "x", T="string"),
        "node 'a': attribute 'T': got string, which is not among those that the op allows: float32,",
        "INVALID_ARGUMENT: Value for attr 'T' of string is not in the list of",
        "ValueError: Value for attr 'T' of string is not in the list of",
    ),
    Broken(
        "type of no meaning",
        lambda m: setattr(node(m, "numbers").attr["dtype"], "type", 77),
        "node 'numbers': attribute 'dtype': got number 77, want a dtype that is no reference",
        "INVALID_ARGUMENT: AttrValue has invalid DataType enum: 77",
        "ValueError: AttrValue has invalid DataType enum: 77",
    ),
    Broken(
        "number below its least",
        lambda m: set_attr(node(m, "both"), "N", 0, "int"),
        "node 'both': attribute 'N': got 0, want 1 or more",
        "INVALID_ARGUMENT: Input 0 of node both does not exist",
        "ValueError: Value for attr 'N' of 0 must be at least minimum 1",
    ),
    Broken(
        "shape of a size below -1",
        lambda m: set_attr(node(m, "x"), "shape", TensorShapeProto(dim=[{"size": -5}]), "shape"),
        "node 'x': attribute 'shape': got a shape with size -5, want -1 (unknown) or more",
        "INVALID_ARGUMENT: Shape [-5] has dimensions with values below -1",
        "ValueError: Shape [-5] has dimensions with values below -1 (where -1",
    ),
    Broken(
        "placeholder attribute",
        lambda m: set_attr(node(m, "y"), "T", "T", "placeholder"),
        "node 'y': attribute 'T' is a placeholder outside of a function",
        "INVALID_ARGUMENT: Input 0 of node y was passed float from mul:0",
        "ValueError: Input 0 of node y was passed float from mul:0",
    ),
    Broken(
        "colocated with none",
        lambda m: set_attr(node(m, "y"), "_class", ["loc:@nowhere"], "list(string)"),
        "node 'y': attribute '_class': there is no node 'nowhere'; drop the colocation with it",
        "INVALID_ARGUMENT: Node 'y' expects to be colocated with unknown node",
        "ValueError: Node 'y' expects to be colocated with unknown node",
    ),
    Broken(
        "colocation of another kind",
        lambda m: set_attr(node(m, "y"), "_class", 2, "int"),
        "node 'y': attribute '_class': want a list(string)",
        None,
        "TypeError: 'int' object is not iterable",
    ),
    Broken(
        "device",
        lambda m: setattr(node(m, "y"), "device", "cpu"),
        "node 'y': not a device: got 'cpu', want e.g. '/device:CPU:0', or none",
        "INVALID_ARGUMENT: Malformed device specification 'cpu' in node:",
        None,
    ),
    # Constants.
    Broken(
        "const without value",
        lambda m: node(m, "numbers").attr.pop("value"),
        "node 'numbers': a Const without a value",
        'FAILED_PRECONDITION: Saved model contains node "numbers" which is a',
        "ValueError: NodeDef missing attr 'value' from Op<name=Const",
    ),
    Broken(
        "const of another dtype",
        lambda m: setattr(node(m, "save/Const_1").attr["dtype"], "type", 1),
        "node 'save/Const",
        "INVALID_ARGUMENT: Input 1 of node save/Select was passed float from",
        "ValueError: Input 1 of node save/Select was passed float from",
    ),
    Broken(
        "const of a reference",
        change_ref,
        "node 'numbers': attribute 'dtype': got int32_ref, want a dtype that is no reference",
        "INVALID_ARGUMENT: AttrValue must not have reference type value of",
        "ValueError: AttrValue must not have reference type value of int32_ref",
    ),
    Broken(
        "const of unknown shape",
        lambda m: node(m, "numbers").attr["value"].tensor.tensor_shape.dim.add(size=-1),
        "node 'numbers': shape of the value: got shape [3, -1], want a fully known one",
        'FAILED_PRECONDITION: Saved model contains node "numbers" (op "Const")',
        "ValueError: Shape [3,?] is not fully defined for '{{node numbers}} =",
    ),
    # It fails when it is run: test_finds_a_constant_that_fails_when_it_is_run.
    Broken(
        "const of too few bytes",
        lambda m: setattr(node(m, "numbers").attr["value"].tensor, "tensor_content", b"abc"),
        "node 'numbers': bytes of the value: got 3, want 12",
        None,
        None,
    ),
    # Functions.
    Broken(
        "function twice",
        two_functions,
        "function 'choice_true",
        "INVALID_ARGUMENT: Cannot add function 'choice_true",
        "ValueError: Cannot add function 'choice_true",
    ),
    Broken(
        "missing function",
        lambda m: m.graph_def.library.ClearField("function"),
        "node 'loop': attribute 'cond': there is no function 'loop_cond",
        "INVALID_ARGUMENT: Op type not registered 'loop_cond",
        "INVALID_ARGUMENT: Restoring from checkpoint failed",
    ),
    Broken(
        "body: returns nothing known",
        change_return,
        "function 'choice_true",
        "INVALID_ARGUMENT: Return add -> nowhere:z:0 is not found",
        "INVALID_ARGUMENT: Restoring from checkpoint failed",
    ),
    Broken(
        "body: output is not returned",
        drop_return,
        "function 'choice_true",
        "INVALID_ARGUMENT: Return add missing",
        "INVALID_ARGUMENT: Restoring from checkpoint failed",
    ),
    Broken(
        "body: types of inputs",
        lambda m: set_attr(body_node(m, "choice_true", "AddV2"), "T", "int32", "type"),
        "function 'choice_true",
        "INVALID_ARGUMENT: input x[0] expected type int32 != float, the type",
        "INVALID_ARGUMENT: Restoring from checkpoint failed",
    ),
    Broken(
        "body: attribute missing",
        lambda m: body_node(m, "choice_true", "AddV2").attr.pop("T"),
        "function 'choice_true",
        "NOT_FOUND: type attr not found: T",
        "NOT_FOUND: Restoring from checkpoint failed",
    ),
    Broken(
        "body: attribute of an unlisted op missing",
        lose_type_of_unlisted,
        "function 'choice_true",
        "NOT_FOUND: type attr not found: T",
        "NOT_FOUND: Restoring from checkpoint failed",
    ),
    Broken(
        "body: too many inputs of an unlisted op",
        add_input_to_unlisted,
        "function 'choice_true",
        "INVALID_ARGUMENT: Expected input[2] == 'add/y:output:0' to be a control input.",
        "INVALID_ARGUMENT: Restoring from checkpoint failed",
    ),
    Broken(
        "body: returns another dtype",
        lambda m: setattr(function(m, "choice_true").signature.output_arg[0], "type", 3),
        "node 'choice': attribute 'then_branch': function 'choice_true",
        "INVALID_ARGUMENT: Input 'inputs' passed float expected int32 while",
        "INVALID_ARGUMENT: Restoring from checkpoint failed",
    ),
    Broken(
        "body: missing input",
        lambda m: body_node(m, "choice_true", "AddV2").input.__setitem__(0, "b"),
        "function 'choice_true",
        "INVALID_ARGUMENT: input b is not found:",
        "INVALID_ARGUMENT: Restoring from checkpoint failed",
    ),
    Broken(
        "body: argument of any dtype",
        lambda m: m.graph_def.library.function.add(
            signature=OpDef(name="f", input_arg=[{"name": "x", "type_attr": "T"}], attr=[{"name": "T", "type": "type"}])
        ),
        "function 'f': argument 'x': its dtype depends on the call: the Python loader refuses it",
        None,
        "TypeError: Cannot convert the argument `type_value`: 0 to a",
    ),
    Broken(
        "body: cycle",
        cyclic_body,
        "function 'choice_true",
        "INVALID_ARGUMENT: 2 nodes in a cycle",
        "INVALID_ARGUMENT: Restoring from checkpoint failed",
    ),
    Broken(
        "branch takes another number",
        lambda m: function(m, "choice_true").signature.input_arg.add(name="more", type=1),
        "node 'choice': attribute 'then_branch': function 'choice_true",
        "INVALID_ARGUMENT: 1 inputs specified of 2 inputs in Op while building",
        "INVALID_ARGUMENT: Restoring from checkpoint failed",
    ),
    Broken(
        "loop body takes another dtype",
        lambda m: setattr(function(m, "loop_body").signature.input_arg[0], "type", 1),
        "node 'loop': attribute 'body': function 'loop_body",
        "INVALID_ARGUMENT: Input 'loop_loop_counter' passed int32 expected",
        "INVALID_ARGUMENT: Restoring from checkpoint failed",
    ),
    Broken(
        "gradient of a missing function",
        lambda m: change_gradient(m, ("nowhere", "nowhere")),
        "gradient of function 'nowhere': there is no function 'nowhere'",
        None,
        "ValueError: FunctionDefLibrary missing 'nowhere' FunctionDef",
    ),
    Broken(
        "gradient is a missing function",
        lambda m: change_gradient(m, (function(m, "choice_true").signature.name, "nowhere")),
        "gradient of function 'choice_true",
        None,
        "ValueError: FunctionDefLibrary missing 'nowhere' FunctionDef",
    ),
    Broken(
        "two gradients",
        two_gradients,
        "gradient of function 'choice_true",
        "INVALID_ARGUMENT: Cannot assign gradient function 'choice_false",
        "ValueError: Cannot assign gradient function 'choice_false",
    ),
    # Versions.
    Broken(
        "consumer too new",
        lambda m: setattr(m.graph_def.versions, "min_consumer", 99999),
        "versions: min_consumer 99999 is newer than the producer, 2474",
        "INVALID_ARGUMENT: GraphDef min consumer version 99999 above current",
        "ValueError: GraphDef min consumer version 99999 above current version",
    ),
    Broken(
        "consumer excluded",
        lambda m: m.graph_def.versions.bad_consumers.append(m.graph_def.versions.producer),
        "versions: bad_consumers has the producer itself, 2474",
        "INVALID_ARGUMENT: GraphDef disallows consumer version 2474",
        "ValueError: GraphDef disallows consumer version 2474",
    ),
    # The saver.
    Broken(
        "saver: filename",
        lambda m: setattr(m.saver_def, "filename_tensor_name", "nowhere:0"),
        "saver filename_tensor_name 'nowhere:0': there is no node 'nowhere'",
        "INVALID_ARGUMENT: Tensor nowhere:0, specified in either feed_devices",
        "TypeError: Cannot interpret feed_dict key as Tensor: The name",
    ),
    Broken(
        "saver: filename names an operation",
        lambda m: setattr(m.saver_def, "filename_tensor_name", "save/Const"),
        "saver filename_tensor_name 'save/Const': got the name of an operation, want the tensor's,",
        None,
        "TypeError: Cannot interpret feed_dict key as Tensor: The name",
    ),
    Broken(
        "saver: filename is no string",
        lambda m: setattr(m.saver_def, "filename_tensor_name", "w/Read/ReadVariableOp:0"),
        "saver filename_tensor_name 'w/Read/ReadVariableOp:0': it is no string tensor",
        "NOT_FOUND: Unsuccessful TensorSliceReader constructor: Failed to find",
        "ValueError: could not convert string to float: np.str_(",
    ),
    Broken(
        "saver: restore op",
        lambda m: setattr(m.saver_def, "restore_op_name", "nowhere"),
        "saver restore_op_name 'nowhere': there is no operation 'nowhere'",
        "NOT_FOUND: PruneForTargets: Some target nodes not found: nowhere",
        "ValueError: Argument `fetch` = nowhere cannot be interpreted as a",
    ),
    Broken(
        "saver: restore op is a tensor",
        lambda m: setattr(m.saver_def, "restore_op_name", "save/restore_all:0"),
        "saver restore_op_name 'save/restore_all:0': there is no operation 'save/restore_all:0'",
        None,
        "ValueError: Argument `fetch` = save/restore_all:0 cannot be",
    ),
    Broken(
        "saver: restore op is a placeholder",
        lambda m: setattr(m.saver_def, "restore_op_name", "x"),
        "saver restore_op_name 'x': a Placeholder restores nothing",
        "INVALID_ARGUMENT: You must feed a value for placeholder tensor 'x",
        "INVALID_ARGUMENT: Restoring from checkpoint failed",
    ),
    # It loads; then every request that reads a variable fails: test_finds_a_model_that_is_not_set_up.
    Broken(
        "saver: restore op of another node",
        lambda m: setattr(m.saver_def, "restore_op_name", "numbers"),
        "saver restore_op_name 'numbers': it restores nothing, and requests read variables: they fail",
        None,
        None,
    ),
    Broken(
        "saver: filename of another placeholder",
        lambda m: setattr(m.saver_def, "filename_tensor_name", "x:0"),
        "saver filename_tensor_name 'x:0': nothing that 'save/restore_all' restores is read from it",
        "NOT_FOUND: Unsuccessful TensorSliceReader constructor: Failed to find",
        "ValueError: Cannot feed value of shape () for Tensor x:0, which has shape",
    ),
    Broken(
        "saver: no save tensor",
        lambda m: m.saver_def.ClearField("save_tensor_name"),
        "saver save_tensor_name '': there is no node ''",
        None,
        "ValueError: saver_def must specify the save_tensor_name:",
    ),
    # Main op and signatures.
    Broken(
        "main op missing",
        lambda m: m.collection_def["saved_model_main_op"].node_list.value.__setitem__(0, "nowhere"),
        "collection 'saved_model_main_op' element 'nowhere': there is no operation 'nowhere'",
        "NOT_FOUND: PruneForTargets: Some target nodes not found: nowhere",
        "KeyError: \"The name 'nowhere' refers to an Operation not in the",
    ),
    Broken(
        "main op is a tensor",
        lambda m: m.collection_def["saved_model_main_op"].node_list.value.__setitem__(0, "numbers:0"),
        "collection 'saved_model_main_op' element 'numbers:0': got a tensor's name, want an operation's",
        None,
        "OperatorNotAllowedInGraphError: Using a symbolic `tf.Tensor` as a",
    ),
    Broken(
        "two main ops",
        lambda m: m.collection_def["saved_model_main_op"].node_list.value.append("main"),
        "collection 'saved_model_main_op': number of operations: got 2, want 1",
        "FAILED_PRECONDITION: Expected exactly one main op in :",
        "RuntimeError: Expected exactly one SavedModel init op",
    ),
    Broken(
        "no main op",
        lambda m: m.collection_def["saved_model_main_op"].CopyFrom(mm.make_bytes_list([b"main"])),
        "collection 'saved_model_main_op': number of operations: got 0, want 1",
        "FAILED_PRECONDITION: Expected exactly one main op in :",
        "RuntimeError: Expected exactly one SavedModel init op",
    ),
    # It loads; then every request that looks something up fails: test_finds_a_model_that_is_not_set_up.
    Broken(
        "main op lost beside tables",
        lambda m: m.collection_def.pop("saved_model_main_op"),
        "table initializer ",
        None,
        None,
    ),
    Broken(
        "init signature of a missing node",
        lambda m: m.signature_def[INIT].CopyFrom(mm.make_init_op_signature("nowhere")),
        "signature '__saved_model_init_op': there is no operation 'nowhere'",
        "NOT_FOUND: PruneForTargets: Some target nodes not found: nowhere",
        'NOT_FOUND: The key "__saved_model_init_op" could not be found in the',
    ),
    # It loads; then every request by this signature fails: test_finds_a_signature_that_fails_when_it_is_run.
    Broken(
        "signature of a missing tensor",
        lambda m: setattr(m.signature_def["serving_default"].outputs["y"], "name", "nowhere:0"),
        "signature 'serving_default' output 'y': tensor 'nowhere:0': there is no node 'nowhere'",
        None,
        None,
    ),
    # The same, and clients encode requests by it.
    Broken(
        "signature of another dtype",
        lambda m: setattr(m.signature_def["serving_default"].inputs["x"], "dtype", 1),
        "signature 'serving_default' input 'x': dtype: got float32, but tensor 'x:0' is string",
        None,
        None,
    ),
    # Assets.
    Broken(
        "asset of a missing tensor",
        lambda m: set_assets(m, mm.make_asset_file_def("nowhere:0", "a")),
        "collection 'saved_model_assets' element 0: tensor 'nowhere:0': there is no node 'nowhere'",
        "INVALID_ARGUMENT: Tensor nowhere:0, specified in either feed_devices",
        "TypeError: Cannot interpret feed_dict key as Tensor: The name",
    ),
    Broken(
        "asset of an operation",
        lambda m: set_assets(
            m, mm.make_asset_file_def(asset_of(m).tensor_info.name.removesuffix(":0"), "vocabulary.txt")
        ),
        "collection 'saved_model_assets' element 0: got the name of an operation, 'asset_path', want",
        None,
        "TypeError: Cannot interpret feed_dict key as Tensor: The name",
    ),
    Broken(
        "asset twice",
        lambda m: set_assets(m, asset_of(m), asset_of(m)),
        "collection 'saved_model_assets' element 1: tensor 'asset_path:0' is fed twice: want one asset",
        'INVALID_ARGUMENT: Endpoint "asset_path:0" fed more than once.',
        None,
    ),
    Broken(
        "asset is no string",
        lambda m: set_assets(m, mm.make_asset_file_def("numbers:0", "a")),
        "collection 'saved_model_assets' element 0: tensor 'numbers:0' is no string tensor",
        None,
        "ValueError: invalid literal for int() with base 10: b",
    ),
    Broken(
        "asset of another type",
        lambda m: setattr(
            m.collection_def["saved_model_assets"].any_list.value[0],
            "type_url",
            "type.googleapis.com/tensorflow.GraphDef",
        ),
        "collection 'saved_model_assets' element 0: not an asset: got type",
        "FAILED_PRECONDITION: Expected Any type_url for:",
        "TypeError: Cannot interpret feed_dict key as Tensor: The name",
    ),
    # It would load a file from anywhere on the server.
    Broken(
        "asset outside of assets/",
        lambda m: set_assets(m, mm.make_asset_file_def(asset_of(m).tensor_info.name, "../../vocabulary.txt")),
        "collection 'saved_model_assets' element 0: asset filename: got '../../vocabulary.txt', want",
        None,
        None,
    ),
    # Collections.
    Broken(
        "variable: name",
        lambda m: change_variable(m, variable_name="nowhere:0"),
        "collection 'variables' element 0: variable_name 'nowhere:0': there is no node 'nowhere'",
        None,
        "KeyError: \"The name 'nowhere:0' refers to a Tensor which does not",
    ),
    Broken(
        "variable: initializer",
        lambda m: change_variable(m, initializer_name="nowhere"),
        "collection 'variables' element 0: initializer_name 'nowhere': there is no operation 'nowhere'",
        None,
        "KeyError: \"The name 'nowhere' refers to an Operation not in the",
    ),
    Broken(
        "variable: snapshot",
        lambda m: change_variable(m, snapshot_name="nowhere:0"),
        "collection 'variables' element 0: snapshot_name 'nowhere:0': there is no node 'nowhere'",
        None,
        "KeyError: \"The name 'nowhere:0' refers to a Tensor which does not",
    ),
    Broken(
        "variable: initial value",
        lambda m: change_variable(m, initial_value_name="nowhere:0"),
        "collection 'variables' element 0: initial_value_name 'nowhere:0': there is no node 'nowhere'",
        None,
        "KeyError: \"The name 'nowhere:0' refers to a Tensor which does not",
    ),
    Broken(
        "variable: damaged",
        lambda m: put(m, "variables", b"\xff"),
        "collection 'variables' element 2: not a VariableDef in 1 bytes: Error parsing message with",
        None,
        "DecodeError: Error parsing message with type 'tensorflow.VariableDef",
    ),
    Broken(
        "saver of the collection: damaged",
        lambda m: put(m, "savers", b"\xff"),
        "collection 'savers' element 0: not a SaverDef in 1 bytes: Error parsing message with type",
        None,
        "DecodeError: Error parsing message with type 'tensorflow.SaverDef",
    ),
    Broken(
        "saver of the collection: empty",
        lambda m: put(m, "savers", SaverDef()),
        "collection 'savers' element 0: save_tensor_name '': want a name",
        None,
        "ValueError: saver_def must specify the save_tensor_name:",
    ),
    Broken(
        "cond context: damaged",
        lambda m: put(m, "cond_context", b"\xff"),
        "collection 'cond_context' element 2: not a CondContextDef in 1 bytes: Error parsing message",
        None,
        "DecodeError: Error parsing message with type",
    ),
    Broken(
        "cond context: predicate",
        lambda m: put_context(m, "cond_context", CondContextDef, pred_name="nowhere:0"),
        "collection 'cond_context' element 2: pred_name 'nowhere:0': there is no node 'nowhere'",
        None,
        "KeyError: \"The name 'nowhere:0' refers to a Tensor which does not",
    ),
    Broken(
        "while context: damaged",
        lambda m: put(m, "while_context", b"\xff"),
        "collection 'while_context' element 1: not a WhileContextDef in 1 bytes: Error parsing message",
        None,
        "DecodeError: Error parsing message with type",
    ),
    Broken(
        "while context: pivot",
        lambda m: put_context(m, "while_context", WhileContextDef, pivot_for_body_name="nowhere:0"),
        "collection 'while_context' element 1: pivot_for_body_name 'nowhere:0': there is no node",
        None,
        "KeyError: \"The name 'nowhere:0' refers to a Tensor which does not",
    ),
    Broken(
        "queue runner: damaged",
        lambda m: put(m, "queue_runners", b"\xff"),
        "collection 'queue_runners' element 0: not a QueueRunnerDef in 1 bytes: Error parsing message",
        None,
        "DecodeError: Error parsing message with type",
    ),
    Broken(
        "queue runner: queue",
        lambda m: put(m, "queue_runners", QueueRunnerDef(queue_name="q")),
        "collection 'queue_runners' element 0: queue_name 'q': there is no operation 'q'",
        None,
        "KeyError: \"The name 'q' refers to an Operation not in the graph.",
    ),
    Broken(
        "collection of a missing node",
        lambda m: m.collection_def["mine"].node_list.value.append("nowhere:0"),
        "collection 'mine' element 'nowhere:0': there is no node 'nowhere'",
        None,
        "KeyError: \"The name 'nowhere:0' refers to a Tensor which does not",
    ),
    Broken(
        "collection of a control input",
        lambda m: m.collection_def["mine"].node_list.value.append("^x"),
        "collection 'mine' element '^x': there is no operation '^x'",
        None,
        "KeyError: \"The name '^x' refers to an Operation not in the graph.",
    ),
]


def reverse_nodes(meta_graph: MetaGraphDef) -> None:
    nodes = list(meta_graph.graph_def.node)[::-1]
    meta_graph.graph_def.ClearField("node")
    meta_graph.graph_def.node.extend(nodes)


def drop_collections(meta_graph: MetaGraphDef) -> None:
    for key in ("variables", "trainable_variables", "asset_filepaths", "table_initializer"):
        meta_graph.collection_def.pop(key)


def use_identity_as_asset(meta_graph: MetaGraphDef) -> None:
    name = asset_of(meta_graph).tensor_info.name
    add_node(meta_graph, "Identity", "path", name, T="string")
    set_assets(meta_graph, asset_of(meta_graph), mm.make_asset_file_def("path:0", "vocabulary.txt"))


def add_polymorphic_function(meta_graph: MetaGraphDef) -> None:
    made = meta_graph.graph_def.library.function.add(signature=OpDef(name="polymorphic"))
    made.signature.attr.add(name="T", type="type")
    made.signature.attr.add(name="v", type="tensor")
    any_type = mm.make_attr_value("T", "placeholder")
    for name, value in (("c", mm.make_attr_value("v", "placeholder")), ("d", mm.make_attr_value(1.0, "tensor"))):
        made.node_def.append(mm.make_node_def("Const", name, attrs={"dtype": any_type, "value": value}))
    made.node_def.append(mm.make_node_def("AddV2", "e", ["c:output:0", "d:output:0"], attrs={"T": any_type}))


def rely_on_the_init_signature(meta_graph: MetaGraphDef) -> None:
    meta_graph.collection_def["saved_model_main_op"].node_list.ClearField("value")
    meta_graph.signature_def[INIT].CopyFrom(mm.make_init_op_signature("main"))


def drop_default_attrs(meta_graph: MetaGraphDef) -> None:
    for key in ("transpose_a", "transpose_b", "grad_a", "grad_b"):
        node(meta_graph, "product").attr.pop(key)


def set_backslash(meta_graph: MetaGraphDef) -> None:
    set_assets(meta_graph, asset_of(meta_graph), mm.make_asset_file_def("save/filename/input:0", "we\\ird"))


LOADED: dict[str, tuple[Callable[[MetaGraphDef], Any], list[str]]] = {
    "other order of nodes": (reverse_nodes, []),
    "no collections": (drop_collections, []),
    "no op list": (lambda m: m.meta_info_def.ClearField("stripped_op_list"), []),
    "an op of the list twice": (
        lambda m: m.meta_info_def.stripped_op_list.op.append(OpDef(name="MatMul")),
        ["op 'MatMul': it is listed with two signatures, so its nodes are not checked"],
    ),
    "an op of the list lost": (lambda m: unlist(m, "MatMul"), []),
    "no signature": (lambda m: m.ClearField("signature_def"), []),
    "input with index 0": (lambda m: set_input(m, "y", 0, node(m, "y").input[0] + ":0"), []),
    "input with index 00": (lambda m: set_input(m, "y", 0, node(m, "y").input[0] + ":00"), []),
    "control input twice": (lambda m: node(m, "y").input.extend(["^x", "^x"]), []),
    "name with >": (lambda m: add_node(m, "NoOp", "a>b"), []),
    "name with /": (lambda m: add_node(m, "NoOp", "a/"), []),
    "asset base": (lambda m: set_assets(m, asset_of(m), mm.make_asset_file_def("save/filename/input:0", "./")), []),
    "asset with a backslash": (
        set_backslash,
        [
            "collection 'saved_model_assets' element 1: asset filename: got 'we\\\\ird', in which Windows sees a path",
        ],
    ),
    "asset of an Identity": (use_identity_as_asset, []),
    "unknown attribute": (lambda m: setattr(node(m, "y").attr["_mine"], "s", b"x"), []),
    "default attributes stripped": (drop_default_attrs, []),
    "_output_shapes of another kind": (lambda m: set_attr(node(m, "y"), "_output_shapes", "2", "string"), []),
    "polymorphic function": (add_polymorphic_function, []),
    "reference read as a value": (lambda m: add_node(m, "Identity", "a", "r", T="float32"), []),
    "two legacy main ops beside a main op": (
        lambda m: m.collection_def["legacy_init_op"].node_list.value.extend(["main", "main"]),
        [],
    ),
    "no main op beside an init signature": (rely_on_the_init_signature, []),
    "collection of no kind": (lambda m: m.collection_def["mine"].Clear(), []),
    "save op lost": (
        lambda m: setattr(m.saver_def, "save_tensor_name", "nowhere:0"),
        ["saver save_tensor_name 'nowhere:0': there is no node 'nowhere'"],
    ),
    "wildcard device": (lambda m: setattr(node(m, "y"), "device", "/device:CPU:*"), []),
}
