"""``python -m mexport_pb``: the ``mexport`` command."""

import sys

from mexport_pb.cli import main

sys.exit(main())
