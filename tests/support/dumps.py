"""A model to be dumped, and what is said of every dump."""

from pathlib import Path

import numpy as np

import mexport_pb as mx
from mexport_pb import messages as mm
from mexport_pb.cli import main
from tests.support.table_exports import export, make_checkpoint

__all__ = ["assert_sizes_add_up", "bytes_on_disk", "describe", "flip", "make_model", "part_of", "run"]


def make_model(folder):
    """An export with tables, an asset of its own, and warmup requests."""
    path, _ = export(folder, make_checkpoint(folder))
    Path(path, "assets", "notes.txt").write_text("hello")
    spec = mm.make_model_spec("ctr", signature_name="serving_default")
    requests = [mx.make_prediction_log(mm.make_predict_request(spec, {"ids": np.arange(n)})) for n in (1, 2)]
    extra = Path(path, "assets.extra")
    extra.mkdir()
    mx.write_records(extra / "tf_serving_warmup_requests", [mm.serialize(one) for one in requests])
    return Path(path)


def describe(path, **options):
    (facts,) = mx.describe(path, **options)
    return facts


def bytes_on_disk(path):
    files = [path] if Path(path).is_file() else [p for p in Path(path).rglob("*") if not p.is_dir()]
    return sum(p.lstat().st_size for p in files)


def assert_sizes_add_up(facts, total):
    def check(part):
        assert part.bytes >= 0
        assert not part.parts or part.bytes == sum(one.bytes for one in part.parts), part.name
        for one in part.parts:
            check(one)

    check(facts.sizes)
    assert facts.sizes.bytes == total == sum(size for _, size in facts.sizes.leaves())


def part_of(facts, *path):
    part = facts.sizes
    for name in path:
        (part,) = [one for one in part.parts if one.name == name]
    return part


def run(capsys, *arguments, status=0):
    assert main(["dump", *map(str, arguments)]) == status
    captured = capsys.readouterr()
    if status != 2:
        assert captured.out or status
    return captured.out if status == 0 else captured


def flip(path, offset):
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x40
    path.write_bytes(data)
