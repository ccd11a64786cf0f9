"""The schemas of Monolith's messages against a table that was written down apart from them."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FieldDescriptor

from tests.unit.monolith_schemas import ENUMS, MODULES, PACKAGES, PROTO3_MODULES

FILES = {name: importlib.import_module(f"mexport_pb._proto.{name}_pb2").DESCRIPTOR for name in MODULES}
TYPE_NAMES = {
    number: name.removeprefix("TYPE_").lower()
    for name, number in vars(FieldDescriptor).items()
    if name.startswith("TYPE_")
}


def type_name(field, package):
    named = field.message_type or field.enum_type
    if named is None:
        return TYPE_NAMES[field.type]
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        entry = field.message_type.fields_by_name
        return f"map<{type_name(entry['key'], package)},{type_name(entry['value'], package)}>"
    return named.full_name.removeprefix(f"{package}.")


def default_of(field):
    if not field.has_default_value:
        return ""
    value = field.default_value
    # The shortest text that gives the same float32.
    return f"[{np.float32(value)!s}]" if field.type == FieldDescriptor.TYPE_FLOAT else f"[{value}]"


def describe(message, package):
    fields = []
    for field in sorted(message.fields, key=lambda field: field.number):
        name = type_name(field, package)
        prefix = ("**" if field.is_packed else "*") if field.is_repeated and not name.startswith("map<") else ""
        oneof = f"{field.containing_oneof.name}|" if field.containing_oneof else ""
        fields.append(f"{field.number} {field.name} {prefix}{oneof}{name}{default_of(field)}")
    return f"{message.full_name.removeprefix(package + '.')}: {'; '.join(fields)}".rstrip()


def messages_of(package):
    waiting = [m for file in FILES.values() if file.package == package for m in file.message_types_by_name.values()]
    while waiting:
        message = waiting.pop()
        if not message.GetOptions().map_entry:
            yield message
            waiting.extend(message.nested_types)


@pytest.mark.parametrize("package", PACKAGES)
def test_fields(package):
    got = sorted(describe(message, package) for message in messages_of(package))
    assert got == sorted(PACKAGES[package].strip().splitlines())


def test_enums():
    got = {}
    for file in FILES.values():
        enums = [*file.enum_types_by_name.values()]
        enums += [enum for message in messages_of(file.package) for enum in message.enum_types]
        got |= {enum.full_name: [(value.name, value.number) for value in enum.values] for enum in enums}
    assert got == {name: list(values.items()) for name, values in ENUMS.items()}


@pytest.mark.parametrize("name", MODULES)
def test_syntax(name):
    file = descriptor_pb2.FileDescriptorProto.FromString(FILES[name].serialized_pb)
    assert (file.syntax or "proto2") == ("proto3" if name in PROTO3_MODULES else "proto2")
    assert FILES[name].package in PACKAGES


def test_enum_defaults_without_an_explicit_one():
    from mexport_pb._proto.hash_table_collections_pb2 import HashTableProto
    from mexport_pb._proto.hash_table_pb2 import EntryConfig

    assert HashTableProto().export_share_embedding == -1
    assert EntryConfig().entry_type == EntryConfig.TRAINING
