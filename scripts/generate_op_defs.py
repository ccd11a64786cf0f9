#!/usr/bin/env python3
"""Write mexport_pb/messages/op_defs.pbtxt, the signatures of all ops of the installed TensorFlow.

All, because the op list of a graph leaves out the ops that only branches and loop bodies use, and default attributes
are stripped there too. Run it after TensorFlow changes; ``--check`` writes nothing and exits 1 if the file is not what
this script would write.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from google.protobuf import text_format

from mexport_pb._proto import graph_pb2
from mexport_pb.messages.table_ops import table_op_defs

TARGET = Path(__file__).resolve().parent.parent / "mexport_pb" / "messages" / "op_defs.pbtxt"


def registered_ops() -> graph_pb2.OpList:
    """Return the signatures of TensorFlow's own ops, sorted by name."""
    from tensorflow.python.client import pywrap_tf_session

    data = pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList())
    # The table ops are there too once something in the process loaded their library.
    ops = [op for op in graph_pb2.OpList.FromString(data).op if op.name not in table_op_defs()]
    return graph_pb2.OpList(op=sorted(ops, key=lambda op: op.name))


def render() -> str:
    """Return the text of the table: an OpList in protobuf's text format, an op a line, sorted by name."""
    parts = ["# Written by scripts/generate_op_defs.py from TensorFlow's registry; do not edit.\n"]
    for op_def in registered_ops().op:
        op_def.ClearField("summary")
        op_def.ClearField("description")
        for described in (*op_def.input_arg, *op_def.output_arg, *op_def.attr):
            described.ClearField("description")
        parts.append(f"{text_format.MessageToString(graph_pb2.OpList(op=[op_def]), as_one_line=True)}\n")
    return "".join(parts)


def main(argv: list[str] | None = None) -> int:
    """Write the table, or compare it; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the file differs")
    args = parser.parse_args(argv)
    text = render()
    if args.check:
        if TARGET.is_file() and TARGET.read_text(encoding="utf-8") == text:
            return 0
        print(f"{TARGET}: differs from TensorFlow's registry; run {Path(__file__).name}", file=sys.stderr)
        return 1
    TARGET.write_text(text, encoding="utf-8")
    print(f"{TARGET}: {len(text.splitlines()) - 1} ops")
    return 0


if __name__ == "__main__":
    sys.exit(main())
