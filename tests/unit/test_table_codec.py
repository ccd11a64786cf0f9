"""The entry codec against the protobuf runtime, in both directions."""

from __future__ import annotations

import itertools
import struct

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, example, given, settings, strategies as st

from mexport_pb import _core
from mexport_pb._proto import hash_table_pb2 as pb
from mexport_pb.errors import DataError, TableError
from mexport_pb.record import read_records, write_records
from mexport_pb.table import OptimizerState, TableDump, iter_table, read_table, write_table

# The state that a dump holds of each optimizer: one value for each dimension (D), one float (F) or one integer (I).
STATES = {
    "adagrad": {"norm": "D"},
    "sgd": {},
    "ftrl": {"zero": "D", "norm": "D"},
    "dynamic_wd_adagrad": {"norm": "D", "last_update_step": "I"},
    "adadelta": {"accum": "D", "accum_update": "D"},
    "adam": {"m": "D", "v": "D", "beta1_power": "F", "beta2_power": "F"},
    "amsgrad": {"m": "D", "v": "D", "vhat": "D", "beta1_power": "F", "beta2_power": "F"},
    "momentum": {"n": "D"},
    "rmsprop": {"n": "D"},
    "rmspropv2": {"n": "D"},
    "group_ftrl": {"zero": "D", "norm": "D"},
    "batch_softmax": {"global_step": "I"},
    "group_adagrad": {"grad_square_sum": "F"},
}
INT64 = st.integers(-(2**63), 2**63 - 1)
# Floats by their bits: not-a-numbers with payloads, both zeros, the smallest.
FLOAT_BITS = st.one_of(
    st.sampled_from([0, 0x80000000, 1, 0x7F800000, 0x7F800001, 0x7FC12345, 0xFFFFFFFF]), st.integers(0, 2**32 - 1)
)
LAYOUTS = st.lists(st.tuples(st.sampled_from(sorted(STATES)), st.integers(1, 40)), max_size=3)
PROPERTY = settings(
    deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def test_states_are_those_of_the_schema_and_of_core():
    assert {
        field.name: {
            f.name: "I" if f.type == f.TYPE_INT64 else "D" if f.is_repeated else "F" for f in field.message_type.fields
        }
        for field in pb.SingleOptimizerDump.DESCRIPTOR.fields
    } == STATES
    assert {
        kind: {name: "I" if integer else "D" if per_dim else "F" for name, per_dim, integer in fields}
        for kind, fields in _core.optimizer_states()
    } == STATES


def floats(draw, n):
    # A list of random bits each would take hypothesis seconds.
    seed = draw(st.integers(0, 2**32 - 1))
    bits = np.random.default_rng(seed).integers(0, 2**32, n, dtype=np.uint32)
    if n:
        bits[draw(st.integers(0, n - 1))] = draw(FLOAT_BITS)
    return bits.view(np.float32)


@st.composite
def dumps(draw, min_rows=0):
    layout = draw(LAYOUTS)
    n = draw(st.integers(min_rows, 6))
    ids = draw(st.lists(INT64, min_size=n, max_size=n, unique=True))
    # Without a segment there are still values; with one the dimensions are those of the segments.
    dim = sum(d for _, d in layout) or draw(st.integers(0, 40))
    opt = []
    for kind, d in layout:
        columns = {}
        for name, form in STATES[kind].items():
            if form == "I":
                columns[name] = np.array(draw(st.lists(INT64, min_size=n, max_size=n)), np.int64)
            else:
                columns[name] = floats(draw, n * d).reshape(n, d) if form == "D" else floats(draw, n)
        opt.append(OptimizerState(kind, columns))
    timestamps = draw(st.lists(INT64, min_size=n, max_size=n))
    return TableDump(
        np.array(ids, np.int64), floats(draw, n * dim).reshape(n, dim), np.array(timestamps, np.int64), tuple(opt)
    )


def raw_fixed32(field, bits):
    return bytes([field << 3 | 5]) + struct.pack("<I", bits)


def varint(value):
    out = bytearray()
    value &= 2**64 - 1
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field_bytes(field, data):
    return varint(field << 3 | 2) + varint(len(data)) + data


def message_bytes(dump, i):
    """Row i as the runtime writes it; its bits go in as bytes, since Python's floats change not-a-numbers."""
    record = b"\x09" + struct.pack("<q", dump.ids[i])
    record += b"".join(raw_fixed32(2, int(bits)) for bits in dump.values[i].view(np.uint32))
    states = b""
    for state in dump.opt:
        fields = pb.SingleOptimizerDump.DESCRIPTOR.fields_by_name[state.kind]
        inner = b""
        for name, column in state.columns.items():
            number = fields.message_type.fields_by_name[name].number
            if column.dtype == np.int64:
                inner += varint(number << 3) + varint(int(column[i]))
            else:
                inner += b"".join(raw_fixed32(number, int(bits)) for bits in np.atleast_1d(column[i]).view(np.uint32))
        states += field_bytes(1, field_bytes(fields.number, inner))
    if dump.opt:
        record += field_bytes(3, states)
    record += b"\x20" + varint(int(dump.timestamps[i]))
    message = pb.EntryDump.FromString(record)
    assert not message.ListFields() or message.ByteSize() == len(record)
    return message.SerializeToString()


def written_records(path):
    return list(read_records(f"{path}-00000-of-00001"))


def write_one_file(path, records):
    write_records(f"{path}-00000-of-00001", records)


def unsigned(record):
    return struct.unpack_from("<Q", record, 1)[0]


def same(a, b):
    def arrays(dump):
        yield from (dump.ids, dump.values, dump.timestamps)
        for state in dump.opt:
            yield from (state.columns[name] for name in STATES[state.kind])

    assert [state.kind for state in a.opt] == [state.kind for state in b.opt]
    for x, y in zip(arrays(a), arrays(b), strict=True):
        assert x.dtype == y.dtype
        assert x.shape == y.shape
        assert x.tobytes() == y.tobytes()


def rows_of(dump, rows):
    return TableDump(
        dump.ids[rows],
        dump.values[rows],
        dump.timestamps[rows],
        tuple(OptimizerState(s.kind, {name: column[rows] for name, column in s.columns.items()}) for s in dump.opt),
    )


@given(dump=dumps())
@PROPERTY
def test_writes_the_bytes_of_the_runtime(dump, tmp_path):
    write_table(tmp_path / "t", dump, 1)
    want = sorted((message_bytes(dump, i) for i in range(len(dump))), key=unsigned)
    assert written_records(tmp_path / "t") == want


@given(dump=dumps(min_rows=1))
@PROPERTY
def test_reads_what_it_wrote(dump, tmp_path):
    write_table(tmp_path / "t", dump, 1)
    want = rows_of(dump, np.argsort(dump.ids.view(np.uint64)))
    got = read_table(tmp_path / "t", threads=1)
    same(got, want)
    for chunk, i in zip(iter_table(tmp_path / "t", rows_per_chunk=1), range(len(dump)), strict=True):
        same(chunk, rows_of(want, slice(i, i + 1)))


# --- anything that protobuf's parsers take ---

KINDS = {field.name: field.number for field in pb.SingleOptimizerDump.DESCRIPTOR.fields}


@st.composite
def float_fields(draw, field, count):
    """Repeated floats in any mixture of forms."""
    pieces = []
    while count > 0:
        n = draw(st.integers(1, count))
        bits = np.random.default_rng(draw(st.integers(0, 999))).integers(0, 2**32, n, dtype=np.uint32)
        if draw(st.booleans()):
            pieces.append(field_bytes(field, bits.tobytes()))
        else:
            pieces += [raw_fixed32(field, int(b)) for b in bits]
        count -= n
    return pieces


@st.composite
def unknown_field(draw):
    number = draw(st.sampled_from([5, 16, 99, 2**29 - 1]))
    form = draw(st.integers(0, 4))
    if form == 0:
        return varint(number << 3) + draw(st.sampled_from([b"\0", b"\x80\x00", b"\xff" * 9 + b"\x01"]))
    if form == 1:
        return varint(number << 3 | 1) + bytes(8)
    if form == 2:
        return field_bytes(number, draw(st.binary(max_size=9)))
    if form == 3:
        return varint(number << 3 | 5) + bytes(4)
    return varint(number << 3 | 3) + draw(st.sampled_from([b"", b"\x08\x01", b"\x0b\x0c"])) + varint(number << 3 | 4)


def wrong_form(field):
    """A known number in a form that its field does not have."""
    return st.sampled_from([varint(field << 3) + b"\x05", varint(field << 3 | 1) + bytes(8)])


@st.composite
def one_dump(draw, kind, dim):
    message = pb.SingleOptimizerDump.DESCRIPTOR.fields_by_name[kind].message_type
    pieces = []
    for name, form in STATES[kind].items():
        field = message.fields_by_name[name].number
        if form == "D":
            pieces += draw(float_fields(field, dim))
        elif form == "F":
            pieces += [raw_fixed32(field, draw(FLOAT_BITS)) for _ in range(draw(st.integers(1, 2)))]
        else:
            pieces += [varint(field << 3) + varint(draw(INT64)) for _ in range(draw(st.integers(1, 2)))]
    pieces += draw(st.lists(unknown_field(), max_size=1))
    pieces = draw(st.permutations(pieces))
    # One message in one piece or in two that are merged, maybe behind another member of the oneof.
    cut = draw(st.integers(0, len(pieces)))
    parts = [b"".join(pieces)] if draw(st.booleans()) else [b"".join(pieces[:cut]), b"".join(pieces[cut:])]
    out = b"".join(field_bytes(KINDS[kind], part) for part in parts)
    if draw(st.integers(0, 4)) == 0:
        other = draw(st.sampled_from(sorted(KINDS)))
        out = draw(
            st.sampled_from([field_bytes(KINDS[other], b"") + out, out + field_bytes(KINDS[other], b""), out * 2])
        )
    return field_bytes(1, out)


@st.composite
def loose_records(draw, layout, dim):
    """Bytes of an entry in any order and form; most have the layout, some have more or less than they should."""
    pieces = [b"\x09" + struct.pack("<q", draw(INT64)) for _ in range(draw(st.sampled_from([1, 1, 1, 2, 0])))]
    pieces += draw(float_fields(2, max(0, dim + draw(st.sampled_from([0, 0, 0, 0, 1, -1])))))
    wanted = list(layout) if draw(st.integers(0, 5)) else draw(st.permutations(layout))[:2]
    states = [draw(one_dump(kind, d)) for kind, d in wanted]
    cut = draw(st.integers(0, len(states)))
    for part in (states[:cut], states[cut:]):
        if part or draw(st.booleans()):
            pieces.append(field_bytes(3, b"".join(part) + draw(st.sampled_from([b"", b"\x78\x01"]))))
    pieces += [b"\x20" + varint(draw(INT64)) for _ in range(draw(st.integers(0, 2)))]
    pieces += draw(st.lists(unknown_field(), max_size=2))
    pieces += draw(st.lists(st.sampled_from([1, 2, 4]).flatmap(wrong_form), max_size=1))
    return b"".join(draw(st.permutations(pieces)))


def shape_of(message):
    states = []
    for dump in message.opt.dump:
        kind = dump.WhichOneof("type")
        inner = getattr(dump, kind) if kind else None
        states.append(
            (kind, [len(getattr(inner, n)) if f == "D" else inner.HasField(n) for n, f in STATES[kind].items()])
            if kind
            else (None, [])
        )
    return len(message.num), states


def judge(first, record):
    """What should come of a record behind `first`: its canonical bytes, or None where it is to be refused."""
    try:
        message = pb.EntryDump.FromString(record)
    except DecodeError:
        return None
    want = pb.EntryDump.FromString(first)
    if not message.HasField("id"):
        return None
    if len(message.opt.dump) == 0 and not any(STATES[dump.WhichOneof("type")] for dump in want.opt.dump):
        message.opt.CopyFrom(want.opt)
    if shape_of(message) != shape_of(want):
        return None
    message.DiscardUnknownFields()
    message.last_update_ts_sec = message.last_update_ts_sec
    if not want.opt.dump:
        message.ClearField("opt")
    return message.SerializeToString()


def check(path, first, record):
    assert judge(first, first) == first
    want = judge(first, record)
    write_one_file(path, [first, record])
    if want is None:
        with pytest.raises(TableError) as caught:
            read_table(path, threads=1)
        assert caught.value.offset == 16 + len(first)
        assert caught.value.path == f"{path}-00000-of-00001"
        with pytest.raises(TableError):
            list(iter_table(path))
        return
    got = read_table(path, threads=1)
    same(next(iter_table(path)), got)
    if unsigned(want) == unsigned(first):
        return  # no table has an id twice
    write_table(f"{path}2", got, 1)
    assert written_records(f"{path}2") == sorted([first, want], key=unsigned)


@given(data=st.data())
@settings(PROPERTY, max_examples=300)
def test_takes_what_the_runtime_takes(data, tmp_path):
    dump = data.draw(dumps(min_rows=1))
    layout = [(state.kind, dim_of(state)) for state in dump.opt]
    check(tmp_path / "t", message_bytes(dump, 0), data.draw(loose_records(layout, dump.dim)))


def dim_of(state):
    return next((column.shape[1] for column in state.columns.values() if column.ndim == 2), 1)


@given(data=st.data())
@settings(PROPERTY, max_examples=200)
def test_takes_flipped_bytes_as_the_runtime_does(data, tmp_path):
    dump = data.draw(dumps(min_rows=2))
    first, record = message_bytes(dump, 0), bytearray(message_bytes(dump, 1))
    for _ in range(data.draw(st.integers(1, 3))):
        # Most bytes are values; tags and lengths are where parsers differ.
        record[data.draw(st.integers(0, len(record) - 1))] = data.draw(st.integers(0, 255))
    check(tmp_path / "t", first, bytes(record))


@given(junk=st.binary(max_size=40))
@example(junk=b"\x0b" * 101)
@example(junk=b"\x0b\x14")
@example(junk=b"\x80\x80\x80\x80\x80\x00")
@example(junk=b"\x2a\xff\xff\xff\xff\x0f")
@example(junk=b"\x28" + b"\xff" * 10)
@PROPERTY
def test_takes_random_bytes_as_the_runtime_does(junk, tmp_path):
    first = b"\x09" + bytes(8) + b"\x20\x00"
    check(tmp_path / "t", first, b"\x09" + b"\x01" * 8 + junk)


def test_depth_of_unknown_groups_is_the_runtimes(tmp_path):
    first = b"\x09" + bytes(8) + b"\x20\x00"
    for depth in (1, 98, 99, 100, 101, 102, 5000):
        check(tmp_path / "t", first, b"\x09" + b"\x01" * 8 + b"\x2b" * depth + b"\x2c" * depth)


@pytest.mark.parametrize("kind", STATES)
def test_refuses_every_truncation(kind, tmp_path):
    columns = {
        name: np.arange(6, dtype=np.float32).reshape(2, 3)
        if form == "D"
        else np.array([7, 300], np.int64 if form == "I" else np.float32)
        for name, form in STATES[kind].items()
    }
    dump = TableDump(
        np.array([1, 2]), np.ones((2, 3), np.float32), np.array([0, 1700000000]), (OptimizerState(kind, columns),)
    )
    first, record = message_bytes(dump, 0), message_bytes(dump, 1)
    for size in range(len(record)):
        check(tmp_path / "t", first, record[:size])


def test_every_implementation_of_the_tags_agrees():
    assert "portable" in _core.entry_tag_implementations()
    for count, tag, name in itertools.product((*range(0, 40), 1000), (0x15, 0x0D), _core.entry_tag_implementations()):
        bits = np.random.default_rng(count).integers(0, 2**32, count, dtype=np.uint32)
        tagged = b"".join(bytes([tag]) + bits[i].tobytes() for i in range(count))
        assert _core.insert_entry_tags(bits.view(np.float32), tag, name) == tagged
        assert _core.strip_entry_tags(tagged, tag, name).tobytes() == bits.tobytes()
        for i in range(count):
            wrong = bytearray(tagged)
            wrong[5 * i] ^= 0x80
            assert _core.strip_entry_tags(bytes(wrong), tag, name) is None


# --- the anatomy of a real record ---

GOLDEN = bytes.fromhex(
    "09 1c00000000000000"
    + "".join(f"15 {struct.pack('<f', 0.25 * i - 1).hex()}" for i in range(17))
    + "1a12 0a0c 1a0a 0d00000000 15cdcccc3d  0a02 1200 2000"
)


def test_golden_record_of_an_ftrl_and_an_sgd_segment(tmp_path):
    assert len(GOLDEN) == 116
    write_one_file(tmp_path / "t", [GOLDEN])
    dump = read_table(tmp_path / "t")
    assert dump.ids.tolist() == [28]
    assert dump.values.tolist() == [[0.25 * i - 1 for i in range(17)]]
    assert dump.timestamps.tolist() == [0]
    assert [state.kind for state in dump.opt] == ["ftrl", "sgd"]
    assert dump.opt[0].columns["zero"].tolist() == [[0.0]]
    assert dump.opt[0].columns["norm"].tolist() == [[np.float32(0.1)]]
    assert dump.opt[1].columns == {}
    write_table(tmp_path / "u", dump)
    assert written_records(tmp_path / "u") == [GOLDEN]


@pytest.mark.parametrize(
    ("slots", "dim", "kinds", "size"),
    [
        ("0,2,3", 33, ("ftrl", "sgd"), 196),
        ("1", 17, ("ftrl", "sgd"), 116),
        ("4", 16, ("sgd",), 97),
        ("5", 32, ("sgd",), 177),
    ],
)
def test_record_sizes_of_real_tables(slots, dim, kinds, size, tmp_path):
    one = {"zero": np.zeros((1, 1), np.float32), "norm": np.full((1, 1), 0.1, np.float32)}
    opt = tuple(OptimizerState(kind, one if kind == "ftrl" else {}) for kind in kinds)
    write_table(tmp_path / "t", TableDump(np.array([3]), np.zeros((1, dim), np.float32), np.zeros(1, np.int64), opt))
    assert (tmp_path / "t-00000-of-00001").stat().st_size == size + 16


def test_message_of_a_wrong_layout_names_the_place(tmp_path):
    dump = TableDump(np.array([1]), np.zeros((1, 2), np.float32), np.array([5]))
    first = message_bytes(dump, 0)
    write_one_file(tmp_path / "t", [first, first[:9] + first[14:]])
    with pytest.raises(DataError, match=r"t-00000-of-00001: offset 37: values of the entry: got 1, want 2$"):
        read_table(tmp_path / "t")


def test_another_member_of_the_oneof_clears_the_one_before(tmp_path):
    def entry(*states):
        dump = b"".join(pb.SingleOptimizerDump(**state).SerializeToString() for state in states)
        raw = b"\x1a" + bytes([len(dump) + 2]) + b"\x0a" + bytes([len(dump)]) + dump
        return pb.EntryDump(id=1, num=[1]).SerializeToString() + raw, pb.SingleOptimizerDump.FromString(dump)

    plain, _ = entry({"adagrad": {"norm": [2]}})
    back, merged = entry({"adagrad": {"norm": [2]}}, {"sgd": {}}, {"adagrad": {"norm": [3]}})
    assert list(merged.adagrad.norm) == [3]
    for records in ([back], [plain, back]):
        write_one_file(tmp_path / "t", records)
        assert read_table(tmp_path / "t").opt[0].columns["norm"][-1].tolist() == [3]
    steps, _ = entry({"batch_softmax": {"global_step": 5}})
    lost, merged = entry({"batch_softmax": {"global_step": 5}}, {"sgd": {}}, {"batch_softmax": {}})
    assert not merged.batch_softmax.HasField("global_step")
    write_one_file(tmp_path / "t", [steps, lost])
    with pytest.raises(TableError, match=r"global_step of segment 0: got 0, want 1$"):
        read_table(tmp_path / "t")
