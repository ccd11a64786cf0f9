#!/usr/bin/env python3
"""Write the graph of a SavedModel for TensorBoard: ``mexport visualize`` as a script.

Usage: python scripts/visualize_saved_model.py --model_dir F --log_dir D [the options of mexport visualize]
"""

from __future__ import annotations

import argparse
import sys

from mexport_pb.cli import execute, visualize


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--model_dir", required=True, dest="path", metavar="F", help="as DIR of `mexport visualize --help`"
    )
    parser.add_argument("--log_dir", required=True, metavar="D", help="where TensorBoard is to look")
    visualize.add_arguments(parser)
    parser.set_defaults(run=visualize.run)
    return execute(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
