// Sorted tables, slice keys and data files for mexport_pb/bundle. Paths and names come as bytes, work runs without the
// GIL.
#include <pybind11/native_enum.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bindings/bindings.h"
#include "bindings/gil.h"
#include "core/bundle_data.h"
#include "core/bundle_layout.h"
#include "core/error.h"
#include "core/ordered_code.h"
#include "core/sstable_reader.h"
#include "core/sstable_writer.h"
#include "core/tensor_box.h"

namespace py = pybind11;

namespace mexport {
namespace {

py::bytes ToBytes(std::string_view view) { return py::bytes(view.data(), view.size()); }

// Borrowed: the list that holds `object` must outlive the view.
std::string_view ViewOf(py::handle object) {
  char* data = nullptr;
  Py_ssize_t size = 0;
  if (PyBytes_AsStringAndSize(object.ptr(), &data, &size) != 0) throw py::error_already_set();
  return {data, static_cast<std::size_t>(size)};
}

py::list ReadTable(const py::bytes& file, const std::string& path) {
  py::list entries;
  ReadSstable(ViewOf(file), path, [&entries](std::string_view key, std::string_view value) {
    entries.append(py::make_tuple(ToBytes(key), ToBytes(value)));
  });
  return entries;
}

py::bytes WriteTable(const py::list& entries) {
  SstableWriter writer;
  for (const py::handle& entry : entries) {
    const auto pair = py::cast<py::tuple>(entry);
    writer.Add(ViewOf(pair[0]), ViewOf(pair[1]));
  }
  return ToBytes(writer.Finish());
}

using Extents = std::vector<std::pair<std::int64_t, std::int64_t>>;

py::bytes EncodeKey(const py::bytes& name, const Extents& extents) {
  std::vector<SliceExtent> converted;
  converted.reserve(extents.size());
  for (const auto& [start, length] : extents) converted.push_back({start, length});
  return ToBytes(EncodeSliceKey(ViewOf(name), converted));
}

py::object DecodeKey(const py::bytes& key) {
  std::string name;
  std::vector<SliceExtent> extents;
  if (!DecodeSliceKey(ViewOf(key), &name, &extents)) return py::none();
  Extents converted;
  converted.reserve(extents.size());
  for (const SliceExtent& extent : extents) converted.emplace_back(extent.start, extent.length);
  return py::make_tuple(ToBytes(name), py::cast(converted));
}

// Contiguous bytes of a Python buffer.
py::buffer_info BytesOf(const py::buffer& buffer, bool writable) {
  py::buffer_info info = buffer.request(writable);
  if (info.itemsize != 1 || info.ndim != 1 || (info.size > 1 && info.strides[0] != 1)) {
    throw Error(ErrorKind::kInvalidArgument, "want a contiguous one-dimensional buffer of bytes");
  }
  return info;
}

void CheckBufferSize(const py::buffer_info& info, std::uint64_t want) {
  if (static_cast<std::uint64_t>(info.size) == want) return;
  throw Error(ErrorKind::kInvalidArgument,
              "buffer size: got " + std::to_string(info.size) + ", want " + std::to_string(want) + " bytes");
}

std::uint32_t ReadInto(const BundleDataReader& reader, const TensorPlace& place, const py::buffer& out) {
  const py::buffer_info info = BytesOf(out, true);
  if (static_cast<std::uint64_t>(info.size) != place.size) {
    throw Error(ErrorKind::kInvalidArgument,
                "buffer size: got " + std::to_string(info.size) + ", want " + std::to_string(place.size) + " bytes");
  }
  const GilRelease release;
  return reader.Read(place, info.ptr);
}

std::uint32_t ReadBox(const BundleDataReader& reader, const TensorPlace& place, std::uint64_t element_size,
                      const std::vector<std::uint64_t>& shape, const std::vector<std::uint64_t>& starts,
                      const std::vector<std::uint64_t>& lengths, const py::buffer& out) {
  const TensorBox box(element_size, shape, starts, lengths);
  const py::buffer_info info = BytesOf(out, true);
  CheckBufferSize(info, box.BoxBytes());
  const GilRelease release;
  return reader.ReadBox(place, box, info.ptr);
}

py::tuple ReadStrings(const BundleDataReader& reader, const TensorPlace& place) {
  std::string stored;
  std::uint32_t crc = 0;
  std::vector<std::string_view> strings;
  {
    const GilRelease release;
    crc = reader.ReadStored(place, &stored);
    strings = SplitStrings(stored, place.elements);
  }
  py::list result(strings.size());
  for (std::size_t i = 0; i < strings.size(); ++i) result[i] = ToBytes(strings[i]);
  return py::make_tuple(result, crc);
}

template <typename Append>
py::tuple ReleaseAndAppend(const Append& append) {
  AppendedTensor appended;
  {
    const GilRelease release;
    appended = append();
  }
  return py::make_tuple(appended.offset, appended.size, appended.crc);
}

py::tuple AppendBuffer(BundleDataWriter& writer, const py::buffer& data) {
  const py::buffer_info info = BytesOf(data, false);
  return ReleaseAndAppend([&] { return writer.Append(info.ptr, static_cast<std::size_t>(info.size)); });
}

py::tuple AppendList(BundleDataWriter& writer, const py::list& strings) {
  // A tuple of its own keeps the strings alive while the list may change.
  const py::tuple held(strings);
  std::vector<std::string_view> views;
  views.reserve(held.size());
  for (const py::handle& s : held) views.push_back(ViewOf(s));
  return ReleaseAndAppend([&] { return writer.AppendStrings(views); });
}

py::tuple AppendFrom(BundleDataWriter& writer, const BundleDataReader& reader, const TensorPlace& place) {
  return ReleaseAndAppend([&] { return writer.AppendFrom(reader, place); });
}

}  // namespace

void RegisterBundle(py::module_& module) {
  module.def("read_sstable", &ReadTable, py::arg("file"), py::arg("path"));
  module.def("write_sstable", &WriteTable, py::arg("entries"));
  module.def("encode_slice_key", &EncodeKey, py::arg("name"), py::arg("extents"));
  module.def("decode_slice_key", &DecodeKey, py::arg("key"));

  py::native_enum<TensorLayout>(module, "TensorLayout", "enum.Enum")
      .value("FIXED", TensorLayout::kFixed)
      .value("STRINGS", TensorLayout::kStrings)
      .value("VARIANTS", TensorLayout::kVariants)
      .finalize();

  py::class_<TensorPlace>(module, "TensorPlace")
      .def(py::init([](TensorLayout layout, std::uint64_t offset, std::uint64_t size, std::uint64_t elements,
                       std::string name) { return TensorPlace{layout, offset, size, elements, std::move(name)}; }),
           py::arg("layout"), py::arg("offset"), py::arg("size"), py::arg("elements"), py::arg("name"));

  py::class_<BundleDataReader>(module, "BundleDataReader")
      .def(py::init<const std::string&>(), py::arg("path"), py::call_guard<GilRelease>())
      .def_property_readonly("size", &BundleDataReader::size)
      .def("read_into", &ReadInto, py::arg("place"), py::arg("out"))
      .def("read_box", &ReadBox, py::arg("place"), py::arg("element_size"), py::arg("shape"), py::arg("starts"),
           py::arg("lengths"), py::arg("out"))
      .def("read_strings", &ReadStrings, py::arg("place"))
      .def("check", &BundleDataReader::Check, py::arg("place"), py::call_guard<GilRelease>());

  py::class_<BundleDataWriter>(module, "BundleDataWriter")
      .def(py::init<const std::string&, std::uint64_t>(), py::arg("path"), py::arg("expected_size") = 0,
           py::call_guard<GilRelease>())
      .def("append", &AppendBuffer, py::arg("data"))
      .def("append_strings", &AppendList, py::arg("strings"))
      .def("append_from", &AppendFrom, py::arg("reader"), py::arg("place"))
      .def("close", &BundleDataWriter::Close, py::call_guard<GilRelease>());
}

}  // namespace mexport
