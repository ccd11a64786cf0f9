// Binds crc32c and the record reader and writer. mexport_pb/record/ is the public face.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <mutex>
#include <string>
#include <utility>

#include "bindings/bindings.h"
#include "bindings/borrowed_bytes.h"
#include "bindings/gil.h"
#include "bindings/record_codecs.h"
#include "core/crc32c.h"
#include "core/error.h"
#include "core/exclusive.h"
#include "core/record_reader.h"
#include "core/record_writer.h"

namespace py = pybind11;

namespace mexport {
namespace {

// Above this a checksum takes longer than handing the GIL over.
constexpr std::size_t kReleaseGilFrom = std::size_t{64} << 10;

std::uint32_t ExtendCrc(const py::object& data, std::uint32_t crc, const std::optional<std::string>& implementation) {
  ExtendCrc32cFunction extend = ExtendCrc32c;
  if (implementation) {
    extend = nullptr;
    for (const Crc32cImplementation& present : Crc32cImplementations()) {
      if (*implementation == present.name) extend = present.extend;
    }
    if (extend == nullptr) {
      throw Error(ErrorKind::kInvalidArgument, "implementation: got '" + *implementation + "', which is not present");
    }
  }
  const BorrowedBytes bytes(data);
  if (bytes.size() < kReleaseGilFrom) return extend(crc, bytes.data(), bytes.size());
  const GilRelease release;
  return extend(crc, bytes.data(), bytes.size());
}

py::list CrcImplementations() {
  py::list names;
  for (const Crc32cImplementation& present : Crc32cImplementations()) names.append(present.name);
  return names;
}

// Both classes below serve any thread. Nobody waits for one of them while holding the GIL, because the thread that uses
// it may be waiting for the GIL to run a codec.

// A thread's turn on an object, during which it does not hold the GIL.
class Turn {
 public:
  explicit Turn(Exclusive& exclusive) : lock_(exclusive, std::defer_lock) {
    if (!alone_) {
      lock_.lock();
    } else if (!lock_.try_lock()) {
      // No other thread gets the GIL any more, so whoever has the object may keep it for good.
      throw Error(ErrorKind::kInvalidArgument,
                  std::string("the ") + exclusive.what() + " is in use by a daemon thread, and the interpreter ends");
    }
  }

 private:
  bool alone_ = Finalizing();
  GilRelease release_;
  std::unique_lock<Exclusive> lock_;
};

File OpenFile(const std::string& path, File (*open)(const std::string&)) {
  const GilRelease release;
  return open(path);
}

class Writer {
 public:
  Writer(const std::string& path, const py::object& compression) {
    // First: a wrong name must not leave an empty file.
    const Compression known = ToCompression(compression);
    auto file = std::make_unique<FileSink>(OpenFile(path, File::Create));
    writer_ = std::make_unique<RecordWriter>(Compressed(std::move(file), known));
  }

  // In a fork what is buffered is dropped: it is the parent's to write.
  ~Writer() {
    if (exclusive_.InheritedInUse()) static_cast<void>(writer_.release());
  }

  void Write(py::handle record) {
    const BorrowedBytes bytes(record);
    {
      const std::unique_lock lock(exclusive_, std::try_to_lock);
      if (lock.owns_lock() && writer_ && !failure_ && writer_->FitsBuffer(bytes.size())) {
        writer_->Write(bytes.data(), bytes.size());
        return;
      }
    }
    Run([&](RecordWriter& writer) { writer.Write(bytes.data(), bytes.size()); });
  }

  std::size_t WriteMany(const py::object& records) {
    const py::object iterator = NewFromPython([&] { return PyObject_GetIter(records.ptr()); });
    std::size_t count = 0;
    for (;; ++count) {
      const auto record = py::reinterpret_steal<py::object>(RunPython([&] { return PyIter_Next(iterator.ptr()); }));
      if (!record) break;
      Write(record);
    }
    if (PyErr_Occurred() != nullptr) throw py::error_already_set();
    return count;
  }

  void WriteBatch(const py::object& data, const py::object& offsets) {
    const Offsets converted = ToOffsets(offsets);
    const BorrowedBytes bytes(data);
    const std::span<const std::int64_t> ends(converted.data(), static_cast<std::size_t>(converted.size()));
    Run([&](RecordWriter& writer) { writer.WriteBatch({bytes.data(), bytes.size()}, ends); });
  }

  void Flush() {
    Run([](RecordWriter& writer) { writer.Flush(); });
  }

  void Sync() {
    Run([](RecordWriter& writer) { writer.Sync(); });
  }

  void Close() {
    if (exclusive_.Inherited()) return;
    std::unique_ptr<RecordWriter> writer;  // destroyed with the GIL held
    const Turn turn(exclusive_);
    writer = std::move(writer_);
    if (!writer) return;
    if (failure_) std::rethrow_exception(failure_);
    writer->Close();
  }

  bool closed() {
    if (exclusive_.Inherited()) return true;
    const Turn turn(exclusive_);
    return writer_ == nullptr;
  }

 private:
  using Offsets =
      py::array_t<std::int64_t, py::array::c_style | py::array::forcecast | py::detail::npy_api::NPY_ARRAY_ALIGNED_>;

  static Offsets ToOffsets(const py::object& offsets) {
    const py::array array = py::array::ensure(offsets);
    if (!array)
      throw Error(ErrorKind::kInvalidArgument,
                  std::string("offsets: got ") + Py_TYPE(offsets.ptr())->tp_name + ", want integers");
    // A list of no numbers makes an array of floats.
    const char kind = array.dtype().kind();
    if (array.size() > 0 && kind != 'i' && kind != 'u') {
      throw Error(ErrorKind::kInvalidArgument,
                  "offsets: got " + py::cast<std::string>(py::str(array.dtype())) + ", want integers");
    }
    if (array.ndim() != 1) {
      throw Error(ErrorKind::kInvalidArgument, "offsets: got " + std::to_string(array.ndim()) + " dimensions, want 1");
    }
    Offsets converted = Offsets::ensure(array);
    if (!converted) throw py::error_already_set();
    return converted;
  }

  template <typename Work>
  void Run(Work work) {
    const Turn turn(exclusive_);
    if (!writer_) throw Error(ErrorKind::kInvalidArgument, "the record writer is closed");
    if (failure_) std::rethrow_exception(failure_);
    try {
      work(*writer_);
    } catch (const Error&) {
      throw;  // a caller's mistake, which leaves whole records
    } catch (const IoError&) {
      failure_ = std::current_exception();
      throw;
    } catch (...) {
      // A codec's own exception, or a signal handler's, may not be thrown twice.
      failure_ = std::make_exception_ptr(Error(
          ErrorKind::kInvalidArgument, "the record writer is of no use any more: an exception ended an earlier call"));
      throw;
    }
  }

  Exclusive exclusive_{"record writer"};
  std::unique_ptr<RecordWriter> writer_;
  std::exception_ptr failure_;
};

class Reader {
 public:
  Reader(std::unique_ptr<ByteSource> source, const std::string& path, Compression compression,
         std::int64_t max_record_bytes) {
    if (max_record_bytes < 0) {
      throw Error(ErrorKind::kInvalidArgument,
                  "max_record_bytes: got " + std::to_string(max_record_bytes) + ", want at least 0");
    }
    const auto limit = static_cast<std::uint64_t>(max_record_bytes);
    reader_ = std::make_unique<RecordReader>(Decompressed(std::move(source), compression, limit), path, limit);
  }

  ~Reader() {
    if (exclusive_.InheritedInUse()) static_cast<void>(reader_.release());
  }

  static std::unique_ptr<Reader> OpenPath(const std::string& path, const py::object& compression,
                                          std::int64_t max_record_bytes) {
    const Compression known = ToCompression(compression);
    auto source = std::make_unique<FileSource>(OpenFile(path, File::OpenForRead));
    return std::make_unique<Reader>(std::move(source), path, known, max_record_bytes);
  }

  static std::unique_ptr<Reader> FromPieces(const py::object& data, std::vector<std::size_t> pieces, bool knows_size,
                                            const py::object& compression, std::int64_t max_record_bytes) {
    const BorrowedBytes bytes(data);
    for (const std::size_t piece : pieces) {
      if (piece == 0) throw Error(ErrorKind::kInvalidArgument, "pieces: got 0, want at least 1");
    }
    auto source = std::make_unique<MemorySource>(std::span(bytes.data(), bytes.size()), std::move(pieces), knows_size);
    return std::make_unique<Reader>(std::move(source), std::string(), ToCompression(compression), max_record_bytes);
  }

  py::bytes Next() {
    {
      const std::unique_lock lock(exclusive_, std::try_to_lock);
      if (lock.owns_lock() && reader_ && reader_->Buffered()) return Take();
    }
    const Turn turn(exclusive_);
    Open().Peek();
    const GilAcquire gil;
    return Take();
  }

  py::tuple ReadBatch(std::int64_t max_records, std::int64_t max_bytes) {
    if (max_records < 1 || max_bytes < 1) {
      throw Error(ErrorKind::kInvalidArgument, "max_records, max_bytes: got " + std::to_string(max_records) + ", " +
                                                   std::to_string(max_bytes) + ", want at least 1");
    }
    RecordColumns columns;
    {
      const Turn turn(exclusive_);
      columns = Open().ReadBatch(static_cast<std::size_t>(max_records), static_cast<std::size_t>(max_bytes));
    }
    const auto size = static_cast<std::size_t>(columns.offsets.back());
    // A batch that is kept must not keep much more memory than it has records.
    if (columns.data.capacity() > 2 * size) columns.data.Resize(std::max<std::size_t>(size, 1));
    std::uint8_t* bytes = columns.data.Release();
    const py::capsule owner(bytes == nullptr ? std::malloc(1) : bytes, std::free);
    auto* offsets = new std::vector<std::int64_t>(std::move(columns.offsets));
    const py::capsule offsets_owner(offsets, [](void* p) { delete static_cast<std::vector<std::int64_t>*>(p); });
    return py::make_tuple(
        py::array_t<std::uint8_t>(static_cast<py::ssize_t>(size), bytes, owner),
        py::array_t<std::int64_t>(static_cast<py::ssize_t>(offsets->size()), offsets->data(), offsets_owner));
  }

  std::uint64_t offset() {
    const Turn turn(exclusive_);
    return Open().offset();
  }

  void Close() {
    if (exclusive_.Inherited()) return;
    std::unique_ptr<RecordReader> reader;  // destroyed with the GIL held
    const Turn turn(exclusive_);
    reader = std::move(reader_);
  }

 private:
  // REQUIRES: the turn
  RecordReader& Open() {
    if (!reader_) throw Error(ErrorKind::kInvalidArgument, "the record reader is closed");
    return *reader_;
  }

  // REQUIRES: the turn, the GIL, and that Peek() reads nothing
  py::bytes Take() {
    const std::optional<std::span<const std::uint8_t>> record = Open().Peek();
    if (!record) throw py::stop_iteration();
    py::bytes bytes(reinterpret_cast<const char*>(record->data()), record->size());
    reader_->Skip();
    return bytes;
  }

  Exclusive exclusive_{"record reader"};
  std::unique_ptr<RecordReader> reader_;
};

}  // namespace

void RegisterRecord(py::module_& module) {
  module.def("crc32c", ExtendCrc, py::arg("data"), py::arg("crc") = 0, py::arg("implementation") = py::none());
  module.def("crc32c_implementations", CrcImplementations);
  module.def("mask_crc", MaskCrc, py::arg("crc"));
  module.def("unmask_crc", UnmaskCrc, py::arg("masked"));

  py::class_<Writer>(module, "RecordWriter")
      .def(py::init<const std::string&, const py::object&>(), py::arg("path"), py::arg("compression"))
      .def("write", &Writer::Write, py::arg("record"))
      .def("write_many", &Writer::WriteMany, py::arg("records"))
      .def("write_batch", &Writer::WriteBatch, py::arg("data"), py::arg("offsets"))
      .def("flush", &Writer::Flush)
      .def("sync", &Writer::Sync)
      .def("close", &Writer::Close)
      .def_property_readonly("closed", &Writer::closed);

  py::class_<Reader>(module, "RecordReader")
      .def(py::init(&Reader::OpenPath), py::arg("path"), py::arg("compression"), py::arg("max_record_bytes"))
      .def_static("from_pieces", &Reader::FromPieces, py::arg("data"), py::arg("pieces"), py::arg("knows_size"),
                  py::arg("compression"), py::arg("max_record_bytes"))
      .def("__iter__", [](py::object self) { return self; })
      .def("__next__", &Reader::Next)
      .def("read_batch", &Reader::ReadBatch, py::arg("max_records"), py::arg("max_bytes"))
      .def_property_readonly("offset", &Reader::offset)
      .def("close", &Reader::Close);
}

}  // namespace mexport
