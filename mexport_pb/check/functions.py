"""Checks of the function library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mexport_pb._proto.graph_pb2 import FunctionDef, FunctionDefLibrary, OpDef
from mexport_pb.check.attrs import dtype_name
from mexport_pb.check.calls import Callee
from mexport_pb.check.nodes import BODY_NODE_NAME, Scope
from mexport_pb.check.ops import UNKNOWN, Ops
from mexport_pb.check.problems import Report, quote

__all__ = ["check_function", "check_gradients", "name_functions"]


def name_functions(library: Sequence[FunctionDef], report: Report) -> dict[str, FunctionDef]:
    """The functions of a library by name."""
    functions: dict[str, FunctionDef] = {}
    for function in library:
        name = function.signature.name
        if not name:
            report.error("function ''", "no name")
        first = functions.setdefault(name, function)
        if first is function:
            continue
        if first == function:
            report.warn(f"function {quote(name)}", "it is in the library twice")
        else:
            report.error(f"function {quote(name)}", "the name is taken")
    return functions


def check_gradients(library: FunctionDefLibrary, functions: Mapping[str, FunctionDef], report: Report) -> None:
    """Report everything wrong with the gradients that a library assigns to functions."""
    seen: dict[str, str] = {}
    for gradient in library.gradient:
        where = f"gradient of function {quote(gradient.function_name)}"
        first = seen.setdefault(gradient.function_name, gradient.gradient_func)
        if first != gradient.gradient_func:
            report.error(where, f"got {quote(gradient.gradient_func)}, but it has {quote(first)} already")
        for name in dict.fromkeys((gradient.function_name, gradient.gradient_func)):
            if name not in functions:
                report.error(where, f"there is no function {quote(name)}")


def check_function(name: str, function: FunctionDef, ops: Ops, callees: Mapping[str, Callee], report: Report) -> None:
    """Report everything wrong with the body of a function."""
    where = f"function {quote(name)}"
    arguments = {arg.name: _types_of(arg) for arg in function.signature.input_arg}
    if len(arguments) < len(function.signature.input_arg):
        report.error(where, "two arguments of the same name")
    for arg in function.signature.input_arg:
        if not BODY_NODE_NAME.match(arg.name):
            report.error(where, f"argument {quote(arg.name)}: illegal name: want letters, digits and '_'")
        if not arg.type:
            report.error(
                where, f"argument {quote(arg.name)}: its dtype depends on the call: the Python loader refuses it"
            )
    body = Scope(function.node_def, ops, callees, report, body_of=name, arguments=arguments)
    body.check()
    outputs = {arg.name: arg for arg in function.signature.output_arg}
    for key in sorted(outputs.keys() ^ function.ret.keys()):
        report.error(where, f"output {quote(key)}: {'nothing is' if key in outputs else 'not declared, but'} returned")
    for key, tensor in sorted(function.ret.items()):
        reason = body.why_no_tensor(tensor)
        if reason is not None:
            report.error(where, f"output {quote(key)} returns {quote(tensor)}: {reason}")
        elif key in outputs and outputs[key].type:
            got = body.dtype_of(tensor)
            if got not in (None, outputs[key].type):
                want = dtype_name(outputs[key].type)
                report.error(where, f"output {quote(key)} returns {quote(tensor)}: got {dtype_name(got)}, want {want}")
    for key, node in sorted(function.control_ret.items()):
        reason = body.why_no_operation(node)
        if reason is not None:
            report.error(where, f"control output {quote(key)}: {reason}")


def _types_of(arg: OpDef.ArgDef) -> Sequence[int] | None:
    """The DataTypes of the tensors that an argument stands for; None where calls differ in their number."""
    return None if arg.number_attr or arg.type_list_attr else (arg.type or UNKNOWN,)
