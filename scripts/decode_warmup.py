#!/usr/bin/env python3
"""Print the requests of a warmup file: ``mexport decode-warmup`` as a script.

Usage: python scripts/decode_warmup.py --file_name F [the options of mexport decode-warmup]
"""

from __future__ import annotations

import argparse
import sys

from mexport_pb.cli import decode_warmup, execute


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--file_name", required=True, dest="file", metavar="F", help="as FILE of `mexport decode-warmup --help`"
    )
    decode_warmup.add_arguments(parser)
    parser.set_defaults(run=decode_warmup.run, only_looks=True)
    return execute(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
