// What each file of this folder adds to the module.
#pragma once

#include <pybind11/pybind11.h>

namespace mexport {

// Makes core's errors arrive as the classes of mexport_pb/errors.py.
void RegisterErrors();

// Sorted tables and data files of bundles.
void RegisterBundle(pybind11::module_& module);

// EmbeddingTable and MultiTable.
void RegisterEmbeddingTable(pybind11::module_& module);

// Shard files of hash tables.
void RegisterTableFile(pybind11::module_& module);

// crc32c, RecordWriter and RecordReader.
void RegisterRecord(pybind11::module_& module);

}  // namespace mexport
