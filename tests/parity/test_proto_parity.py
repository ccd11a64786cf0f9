"""Our schemas against the descriptors of the installed tensorflow and tensorflow-serving-api."""

from __future__ import annotations

import importlib
import pkgutil
import random
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, FileDescriptor

import mexport_pb._proto
from tests.unit import monolith_schemas

pytest.importorskip("tensorflow_serving.apis")
pytestmark = pytest.mark.tensorflow

THEIR_PACKAGES = {
    "mexport.tensorflow": "tensorflow",
    "mexport.tensorflow.error": "tensorflow.error",
    "mexport.serving": "tensorflow.serving",
}
# Modules of the two wheels that register the messages of our files; the rest comes as their dependencies. Each of these
# is needed, see test_no_module_is_imported_for_nothing.
THEIR_MODULES = (
    "tensorflow.core.protobuf.control_flow_pb2",
    "tensorflow.core.protobuf.queue_runner_pb2",
    "tensorflow.core.protobuf.saved_model_pb2",
    "tensorflow.core.protobuf.tensor_bundle_pb2",
    "tensorflow.python.training.checkpoint_state_pb2",
    "tensorflow_serving.apis.get_model_metadata_pb2",
    "tensorflow_serving.apis.get_model_status_pb2",
    "tensorflow_serving.apis.prediction_log_pb2",
)


def our_files() -> list[FileDescriptor]:
    """All but those of Monolith's messages, which tests/unit/test_table_schemas.py compares."""
    names = [module.name for module in pkgutil.iter_modules(mexport_pb._proto.__path__) if module.name.endswith("_pb2")]
    names = [name for name in names if name.removesuffix("_pb2") not in monolith_schemas.MODULES]
    return [importlib.import_module(f"mexport_pb._proto.{name}").DESCRIPTOR for name in names]


def all_messages(file: FileDescriptor) -> list[Descriptor]:
    found = []
    waiting = list(file.message_types_by_name.values())
    while waiting:
        message = waiting.pop()
        if not message.GetOptions().map_entry:
            found.append(message)
            waiting.extend(message.nested_types)
    return sorted(found, key=lambda message: message.full_name)


def all_enums(file: FileDescriptor) -> list[EnumDescriptor]:
    nested = [enum for message in all_messages(file) for enum in message.enum_types]
    return [*file.enum_types_by_name.values(), *nested]


@pytest.fixture(scope="module")
def theirs() -> descriptor_pool.DescriptorPool:
    for module in THEIR_MODULES:
        importlib.import_module(module)
    return descriptor_pool.Default()


def their_name(ours: str) -> str:
    for package, other in THEIR_PACKAGES.items():
        if ours.startswith(package + "."):
            return other + ours.removeprefix(package)
    return ours


def type_of(field: FieldDescriptor) -> object:
    """What the field holds, with the names of messages and enums as TensorFlow spells them."""
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        entry = field.message_type.fields_by_name
        return ("map", type_of(entry["key"]), type_of(entry["value"]))
    if field.message_type is not None:
        return their_name(field.message_type.full_name)
    if field.enum_type is not None:
        return their_name(field.enum_type.full_name)
    return field.type


def facts_of_field(field: FieldDescriptor) -> dict[str, object]:
    oneof = field.containing_oneof
    if oneof is not None and oneof.name == f"_{field.name}":
        oneof = None  # proto3's way to say "optional", which "presence" tells
    return {
        "number": field.number,
        "type": type_of(field),
        "repeated": field.is_repeated,
        "packed": field.is_packed,
        "presence": field.has_presence,
        "oneof": None if oneof is None else oneof.name,
        "json name": field.json_name,
        "deprecated": field.GetOptions().deprecated,
    }


def facts_of_message(message: Descriptor) -> dict[str, object]:
    facts: dict[str, object] = {f"field {field.name}": facts_of_field(field) for field in message.fields}
    facts["nested messages"] = sorted(nested.name for nested in message.nested_types)
    facts["nested enums"] = sorted(nested.name for nested in message.enum_types)
    proto = descriptor_pb2.DescriptorProto()
    message.CopyToProto(proto)
    facts["reserved numbers"] = sorted((interval.start, interval.end) for interval in proto.reserved_range)
    facts["reserved names"] = sorted(proto.reserved_name)
    facts["deprecated"] = message.GetOptions().deprecated
    return facts


def facts_of_enum(enum: EnumDescriptor) -> dict[str, object]:
    facts: dict[str, object] = {
        f"value {value.name}": (value.number, value.GetOptions().deprecated) for value in enum.values
    }
    options = enum.GetOptions()
    return facts | {"closed": enum.is_closed, "deprecated": options.deprecated, "aliases": options.allow_alias}


def differences(ours: dict[str, object], theirs: dict[str, object]) -> list[str]:
    return [
        f"{key}: got {ours.get(key)}, want {theirs.get(key)}"
        for key in sorted(ours.keys() | theirs.keys())
        if ours.get(key) != theirs.get(key)
    ]


@pytest.mark.parametrize("file", our_files(), ids=lambda file: file.name.rpartition("/")[2])
def test_schema_equals_tensorflows(file, theirs):
    wrong = []
    for message in all_messages(file):
        other = theirs.FindMessageTypeByName(their_name(message.full_name))
        found = differences(facts_of_message(message), facts_of_message(other))
        wrong += [f"{message.full_name}: {difference}" for difference in found]
    for enum in all_enums(file):
        other = theirs.FindEnumTypeByName(their_name(enum.full_name))
        wrong += [
            f"{enum.full_name}: {difference}" for difference in differences(facts_of_enum(enum), facts_of_enum(other))
        ]
    assert not wrong, "\n".join(wrong)


def test_every_file_is_compared():
    """A file of an unknown package would look for its messages where there are none."""
    assert {file.package for file in our_files()} == set(THEIR_PACKAGES)
    schemas = Path(__file__).parents[2] / "proto/mexport_pb/_proto"
    elsewhere = {f"{module}.proto" for module in monolith_schemas.MODULES}
    assert {Path(file.name).name for file in our_files()} | elsewhere == {path.name for path in schemas.glob("*.proto")}
    assert sum(len(all_messages(file)) for file in our_files()) > 140


def dependencies(file, found):
    for dependency in file.dependencies:
        if dependency.name not in found:
            found.add(dependency.name)
            dependencies(dependency, found)
    return found


def test_no_module_is_imported_for_nothing(theirs):
    needed = {
        find(their_name(one.full_name)).file.name
        for file in our_files()
        for find, all_of in ((theirs.FindMessageTypeByName, all_messages), (theirs.FindEnumTypeByName, all_enums))
        for one in all_of(file)
    }
    files = {module: importlib.import_module(module).DESCRIPTOR for module in THEIR_MODULES}
    registered = {module: dependencies(file, {file.name}) for module, file in files.items()}
    for module in THEIR_MODULES:
        others = set().union(*(names for other, names in registered.items() if other != module))
        assert needed & (registered[module] - others), module


# --- the comparer itself: each kind of change must be seen ---


def change_number(node):
    next(field for field in node.field if field.name == "device").number = 14


def change_type(node):
    next(field for field in node.field if field.name == "device").type = FieldDescriptor.TYPE_BYTES


def change_label(node):
    next(field for field in node.field if field.name == "device").label = FieldDescriptor.LABEL_REPEATED


def change_name(node):
    next(field for field in node.field if field.name == "device").name = "devices"


def drop_field(node):
    node.field.remove(next(field for field in node.field if field.name == "device"))


def add_field(node):
    node.field.add(name="extra", number=99, type=FieldDescriptor.TYPE_INT64, label=FieldDescriptor.LABEL_OPTIONAL)


def change_message_type(node):
    next(field for field in node.field if field.name == "experimental_type").type_name = ".mexport.tensorflow.OpDef"


def change_map_key(node):
    key = node.nested_type[[nested.name for nested in node.nested_type].index("AttrEntry")].field[0]
    key.type = FieldDescriptor.TYPE_INT64


def change_oneof(node):
    node.oneof_decl.add(name="choice")
    next(field for field in node.field if field.name == "device").oneof_index = 0


def reserve(node):
    node.reserved_range.add(start=40, end=41)


def change_json_name(node):
    next(field for field in node.field if field.name == "device").json_name = "gadget"


def deprecate_field(node):
    next(field for field in node.field if field.name == "device").options.deprecated = True


def deprecate_message(node):
    node.options.deprecated = True


def make_optional(node):
    node.oneof_decl.add(name="_device")
    field = next(field for field in node.field if field.name == "device")
    field.proto3_optional, field.oneof_index = True, len(node.oneof_decl) - 1


@pytest.mark.parametrize(
    "change",
    [
        change_number,
        change_type,
        change_label,
        change_name,
        drop_field,
        add_field,
        change_message_type,
        change_map_key,
        change_oneof,
        reserve,
        change_json_name,
        deprecate_field,
        deprecate_message,
        make_optional,
    ],
)
def test_comparer_sees_a_changed_message(change, theirs):
    node = descriptor_pool.Default().FindMessageTypeByName("mexport.tensorflow.NodeDef")
    file = descriptor_pb2.FileDescriptorProto.FromString(node.file.serialized_pb)
    change(next(message for message in file.message_type if message.name == "NodeDef"))
    pool = descriptor_pool.DescriptorPool()
    for dependency in node.file.dependencies:
        pool.AddSerializedFile(dependency.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    changed = pool.FindMessageTypeByName("mexport.tensorflow.NodeDef")
    want = facts_of_message(theirs.FindMessageTypeByName("tensorflow.NodeDef"))
    assert differences(facts_of_message(node), want) == []
    assert differences(facts_of_message(changed), want)


def test_comparer_sees_a_changed_enum_and_packing(theirs):
    proto = descriptor_pb2.FileDescriptorProto(name="changed.proto", package="changed", syntax="proto3")
    proto.enum_type.add(name="Version").value.add(name="LEGACY", number=0)
    proto.enum_type[0].value.add(name="V1", number=1)
    proto.enum_type[0].value.add(name="V2", number=2).options.deprecated = True
    message = proto.message_type.add(name="Holder")
    message.field.add(name="value", number=1, type=FieldDescriptor.TYPE_INT64, label=FieldDescriptor.LABEL_REPEATED)
    message.field[0].options.packed = False
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(proto.SerializeToString())
    enum = theirs.FindEnumTypeByName("tensorflow.SaverDef.CheckpointFormatVersion")
    assert differences(facts_of_enum(pool.FindEnumTypeByName("changed.Version")), facts_of_enum(enum)) == [
        "value V2: got (2, True), want (2, False)"
    ]
    int64_list = theirs.FindMessageTypeByName("tensorflow.Int64List")
    assert differences(
        facts_of_message(pool.FindMessageTypeByName("changed.Holder")), facts_of_message(int64_list)
    ) == [
        "field value: got "
        f"{facts_of_field(pool.FindMessageTypeByName('changed.Holder').fields[0])}, "
        f"want {facts_of_field(int64_list.fields[0])}"
    ]


# --- bytes: a filled message of ours and TensorFlow's class take each other's ---

SCALARS = {
    FieldDescriptor.CPPTYPE_INT32: lambda rng: rng.randrange(-(2**31), 2**31),
    FieldDescriptor.CPPTYPE_INT64: lambda rng: rng.randrange(-(2**63), 2**63),
    FieldDescriptor.CPPTYPE_UINT32: lambda rng: rng.randrange(2**32),
    FieldDescriptor.CPPTYPE_UINT64: lambda rng: rng.randrange(2**64),
    FieldDescriptor.CPPTYPE_DOUBLE: lambda rng: rng.uniform(-1e30, 1e30),
    FieldDescriptor.CPPTYPE_FLOAT: lambda rng: rng.uniform(-1e30, 1e30),
    FieldDescriptor.CPPTYPE_BOOL: lambda rng: rng.random() < 0.5,
}


def scalar(field, rng):
    if field.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
        return rng.choice(field.enum_type.values).number
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        data = rng.randbytes(rng.randrange(9))
        return data if field.type == FieldDescriptor.TYPE_BYTES else data.hex()
    return SCALARS[field.cpp_type](rng)


def fill(message, rng, depth):
    """Set about two fields of three; in a oneof, one of them."""
    for field in message.DESCRIPTOR.fields:
        if rng.random() < 1 / 3 or (field.message_type is not None and depth == 0):
            continue
        value = getattr(message, field.name)
        if field.message_type is None:
            if field.is_repeated:
                value.extend([scalar(field, rng) for _ in range(rng.randrange(4))])
            else:
                setattr(message, field.name, scalar(field, rng))
        elif field.message_type.GetOptions().map_entry:
            entry = field.message_type.fields_by_name
            for _ in range(rng.randrange(3)):
                key = scalar(entry["key"], rng)
                if entry["value"].message_type is None:
                    value[key] = scalar(entry["value"], rng)
                else:
                    fill(value[key], rng, depth - 1)
        elif field.is_repeated:
            for _ in range(rng.randrange(3)):
                fill(value.add(), rng, depth - 1)
        else:
            value.SetInParent()
            fill(value, rng, depth - 1)


@pytest.mark.parametrize("file", our_files(), ids=lambda file: file.name.rpartition("/")[2])
def test_filled_messages_have_the_same_bytes(file, theirs):
    rng = random.Random(7)
    for message in all_messages(file):
        other_class = message_factory.GetMessageClass(theirs.FindMessageTypeByName(their_name(message.full_name)))
        for _ in range(4):
            ours = message_factory.GetMessageClass(message)()
            fill(ours, rng, depth=4)
            data = ours.SerializeToString(deterministic=True)
            other = other_class.FromString(data)
            assert other.SerializeToString(deterministic=True) == data
            assert str(other) == str(ours)  # no field was taken for an unknown one
