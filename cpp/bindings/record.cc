// Binds crc32c and the record reader and writer. mexport_pb/record/ is the public face.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cerrno>
#include <mutex>
#include <utility>

#include "bindings/bindings.h"
#include "bindings/record_codecs.h"
#include "core/crc32c.h"
#include "core/error.h"
#include "core/record_reader.h"
#include "core/record_writer.h"

namespace py = pybind11;

namespace mexport {
namespace {

// Above this a checksum takes longer than handing the GIL over.
constexpr std::size_t kReleaseGilFrom = std::size_t{64} << 10;

// The bytes of any object that lends a contiguous buffer.
class BorrowedBytes {
 public:
  explicit BorrowedBytes(py::handle object) {
    if (PyObject_GetBuffer(object.ptr(), &view_, PyBUF_SIMPLE) != 0) throw py::error_already_set();
  }
  BorrowedBytes(const BorrowedBytes&) = delete;
  BorrowedBytes& operator=(const BorrowedBytes&) = delete;
  ~BorrowedBytes() { PyBuffer_Release(&view_); }

  const std::uint8_t* data() const { return static_cast<const std::uint8_t*>(view_.buf); }
  std::size_t size() const { return static_cast<std::size_t>(view_.len); }

 private:
  Py_buffer view_;
};

std::uint32_t ExtendCrc(py::object data, std::uint32_t crc, const std::optional<std::string>& implementation) {
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
  py::gil_scoped_release release;
  return extend(crc, bytes.data(), bytes.size());
}

py::list CrcImplementations() {
  py::list names;
  for (const Crc32cImplementation& present : Crc32cImplementations()) names.append(present.name);
  return names;
}

File OpenFile(const std::string& path, File (*open)(const std::string&)) {
  if (path.find('\0') != std::string::npos) throw Error(ErrorKind::kInvalidArgument, "path: got a null byte in it");
  py::gil_scoped_release release;
  return open(path);
}

// Both classes below serve any thread. Nobody waits for a mutex while holding the GIL, because its owner may be waiting
// for the GIL to run a codec.

class Writer {
 public:
  Writer(const std::string& path, const std::string& compression) : path_(path) {
    // The codec first: a wrong name must not leave an empty file.
    Compressed(nullptr, compression);
    auto file = std::make_unique<FileSink>(OpenFile(path, File::Create));
    writer_ = std::make_unique<RecordWriter>(Compressed(std::move(file), compression));
  }

  void Write(py::handle record) {
    const BorrowedBytes bytes(record);
    {
      std::unique_lock lock(mutex_, std::try_to_lock);
      if (lock.owns_lock() && writer_ && !failure_ && writer_->FitsBuffer(bytes.size())) {
        writer_->Write(bytes.data(), bytes.size());
        return;
      }
    }
    Run([&](RecordWriter& writer) { writer.Write(bytes.data(), bytes.size()); });
  }

  std::size_t WriteMany(const py::iterable& records) {
    std::size_t count = 0;
    for (const py::handle record : records) {
      Write(record);
      ++count;
    }
    return count;
  }

  void WriteBatch(py::object data, const py::array_t<std::int64_t, py::array::c_style>& offsets) {
    if (offsets.ndim() != 1) {
      throw Error(ErrorKind::kInvalidArgument,
                  "offsets: got " + std::to_string(offsets.ndim()) + " dimensions, want 1");
    }
    const BorrowedBytes bytes(data);
    const std::span<const std::int64_t> ends(offsets.data(), static_cast<std::size_t>(offsets.size()));
    Run([&](RecordWriter& writer) { writer.WriteBatch({bytes.data(), bytes.size()}, ends); });
  }

  void Flush() {
    Run([](RecordWriter& writer) { writer.Flush(); });
  }

  void Sync() {
    Run([](RecordWriter& writer) { writer.Sync(); });
  }

  void Close() {
    std::unique_ptr<RecordWriter> writer;  // destroyed with the GIL held
    {
      py::gil_scoped_release release;
      std::lock_guard lock(mutex_);
      writer = std::move(writer_);
      if (!writer) return;
      if (failure_) std::rethrow_exception(failure_);
      writer->Close();
    }
  }

  bool closed() {
    py::gil_scoped_release release;
    std::lock_guard lock(mutex_);
    return writer_ == nullptr;
  }

 private:
  template <typename Work>
  void Run(Work work) {
    py::gil_scoped_release release;
    std::lock_guard lock(mutex_);
    if (!writer_) throw Error(ErrorKind::kInvalidArgument, "the record writer is closed");
    if (failure_) std::rethrow_exception(failure_);
    try {
      work(*writer_);
    } catch (const Error&) {
      throw;  // a caller's mistake, found before anything was written
    } catch (const IoError&) {
      failure_ = std::current_exception();
      throw;
    } catch (...) {
      // A codec's own exception may not be thrown twice.
      failure_ = std::make_exception_ptr(IoError(EIO, path_));
      throw;
    }
  }

  std::string path_;
  std::mutex mutex_;
  std::unique_ptr<RecordWriter> writer_;
  std::exception_ptr failure_;
};

class Reader {
 public:
  Reader(std::unique_ptr<ByteSource> source, const std::string& path, const std::string& compression,
         std::int64_t max_record_bytes) {
    if (max_record_bytes < 0) {
      throw Error(ErrorKind::kInvalidArgument,
                  "max_record_bytes: got " + std::to_string(max_record_bytes) + ", want at least 0");
    }
    reader_ = std::make_unique<RecordReader>(Decompressed(std::move(source), compression), path,
                                             static_cast<std::uint64_t>(max_record_bytes));
  }

  static std::unique_ptr<Reader> OpenPath(const std::string& path, const std::string& compression,
                                          std::int64_t max_record_bytes) {
    auto source = std::make_unique<FileSource>(OpenFile(path, File::OpenForRead));
    return std::make_unique<Reader>(std::move(source), path, compression, max_record_bytes);
  }

  static std::unique_ptr<Reader> FromPieces(py::object data, std::vector<std::size_t> pieces, bool knows_size,
                                            const std::string& compression, std::int64_t max_record_bytes) {
    const BorrowedBytes bytes(data);
    for (const std::size_t piece : pieces) {
      if (piece == 0) throw Error(ErrorKind::kInvalidArgument, "pieces: got 0, want at least 1");
    }
    auto source = std::make_unique<MemorySource>(std::span(bytes.data(), bytes.size()), std::move(pieces), knows_size);
    return std::make_unique<Reader>(std::move(source), std::string(), compression, max_record_bytes);
  }

  py::bytes Next() {
    {
      std::unique_lock lock(mutex_, std::try_to_lock);
      if (lock.owns_lock() && reader_ && reader_->Buffered()) return Take();
    }
    py::gil_scoped_release release;
    std::lock_guard lock(mutex_);
    Open().Peek();
    py::gil_scoped_acquire acquire;
    return Take();
  }

  py::tuple ReadBatch(std::int64_t max_records, std::int64_t max_bytes) {
    if (max_records < 1 || max_bytes < 1) {
      throw Error(ErrorKind::kInvalidArgument, "max_records, max_bytes: got " + std::to_string(max_records) + ", " +
                                                   std::to_string(max_bytes) + ", want at least 1");
    }
    RecordColumns columns;
    {
      py::gil_scoped_release release;
      std::lock_guard lock(mutex_);
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
    py::gil_scoped_release release;
    std::lock_guard lock(mutex_);
    return Open().offset();
  }

  void Close() {
    std::unique_ptr<RecordReader> reader;  // destroyed with the GIL held
    py::gil_scoped_release release;
    std::lock_guard lock(mutex_);
    reader = std::move(reader_);
  }

 private:
  // REQUIRES: the mutex
  RecordReader& Open() {
    if (!reader_) throw Error(ErrorKind::kInvalidArgument, "the record reader is closed");
    return *reader_;
  }

  // REQUIRES: the mutex, the GIL, and that Peek() reads nothing
  py::bytes Take() {
    const std::optional<std::span<const std::uint8_t>> record = Open().Peek();
    if (!record) throw py::stop_iteration();
    py::bytes bytes(reinterpret_cast<const char*>(record->data()), record->size());
    reader_->Skip();
    return bytes;
  }

  std::mutex mutex_;
  std::unique_ptr<RecordReader> reader_;
};

}  // namespace

void RegisterRecord(py::module_& module) {
  module.def("crc32c", ExtendCrc, py::arg("data"), py::arg("crc") = 0, py::arg("implementation") = py::none());
  module.def("crc32c_implementations", CrcImplementations);
  module.def("mask_crc", MaskCrc, py::arg("crc"));
  module.def("unmask_crc", UnmaskCrc, py::arg("masked"));

  py::class_<Writer>(module, "RecordWriter")
      .def(py::init<const std::string&, const std::string&>(), py::arg("path"), py::arg("compression"))
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
