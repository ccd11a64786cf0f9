"""Graphs for which our files are compared with TensorFlow's, byte for byte; shared by parity tests and goldens."""

# The modules register their graphs when they are imported; the order of the imports is that of the table.
from tests.corpus import variables, functions, texts, graph_collections  # noqa: F401, I001
from tests.corpus.compare import Comparison, FileResult, compare_trees, tree
from tests.corpus.model import ENTRIES, Entry
from tests.corpus.run import Inputs, compare_builder, compare_exporter, save_with_builder

RUNS = {"builder": compare_builder, "exporter": compare_exporter}
"""The two comparisons."""

__all__ = [
    "ENTRIES",
    "RUNS",
    "Comparison",
    "Entry",
    "FileResult",
    "Inputs",
    "compare_builder",
    "compare_exporter",
    "compare_trees",
    "save_with_builder",
    "tree",
]
