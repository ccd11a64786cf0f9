#!/usr/bin/env python3
"""Show what is in a SavedModel, a bundle, or embedding tables: ``mexport dump`` as a script.

Usage: python scripts/dump_saved_model.py --model_dir D [the options of mexport dump]
"""

from __future__ import annotations

import argparse
import sys

from mexport_pb.cli import dump, execute


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model_dir", required=True, dest="path", metavar="D", help="as PATH of `mexport dump --help`")
    dump.add_arguments(parser)
    parser.set_defaults(run=dump.run, only_looks=True)
    return execute(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
