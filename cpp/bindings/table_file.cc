// Binds the reader and the writer of table dumps. mexport_pb/table/ is the public face. Work runs without the GIL.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdlib>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings/bindings.h"
#include "bindings/gil.h"
#include "bindings/record_codecs.h"
#include "core/error.h"
#include "core/table_reader.h"
#include "core/table_writer.h"

namespace py = pybind11;

namespace mexport {
namespace {

using Ids = py::array_t<std::int64_t, py::array::c_style>;
using Floats = py::array_t<float, py::array::c_style>;

// Zlib's codecs hold Python objects, so they are made and destroyed with the GIL. Only the thread that called from
// Python can take it, so their files have one thread.
std::size_t StreamThreads(Compression compression, std::size_t threads) {
  return compression == Compression::kSnappy ? threads : 1;
}

template <typename T, typename Make>
std::shared_ptr<T> MakeWithGil(Make make) {
  const GilAcquire gil;
  return std::shared_ptr<T>(make().release(), [](T* pointer) {
    const GilAcquire destroying;
    delete pointer;
  });
}

OpenRecords Opener(Compression compression) {
  return [compression](const std::string& path) {
    auto file = std::make_unique<FileSource>(File::OpenForRead(path));
    return MakeWithGil<RecordReader>([&] {
      return std::make_unique<RecordReader>(Decompressed(std::move(file), compression, kMaxEntryBytes), path,
                                            kMaxEntryBytes);
    });
  };
}

OpenWriter WriteOpener(Compression compression) {
  return [compression](const std::string& path) {
    auto file = std::make_unique<FileSink>(File::Create(path));
    return MakeWithGil<RecordWriter>(
        [&] { return std::make_unique<RecordWriter>(Compressed(std::move(file), compression)); });
  };
}

template <typename T>
py::array Adopt(ByteBuffer& buffer, std::vector<py::ssize_t> shape) {
  std::uint8_t* const data = buffer.Release();
  const py::capsule owner(data == nullptr ? std::malloc(1) : data, std::free);
  return py::array_t<T>(std::move(shape), reinterpret_cast<T*>(data), owner);
}

// (ids, values, timestamps, [(kind, [(field, array)])])
py::tuple ToPython(EntryBatch batch) {
  const EntryLayout layout = batch.layout();
  const std::size_t rows = batch.rows();
  // What is kept must not hold much more memory than it has rows.
  if (batch.capacity() > rows + rows / 8 || batch.capacity() == 0) {
    if (batch.capacity() == 0) batch = EntryBatch(layout);
    batch.Reserve(rows);
  }
  std::vector<ByteBuffer> buffers = batch.Release();
  const auto n = static_cast<py::ssize_t>(rows);
  py::list segments;
  std::size_t column = 0;
  for (std::size_t i = 0; i < layout.segments().size(); ++i) {
    py::list fields;
    for (; column < layout.columns().size() && layout.columns()[column].segment == i; ++column) {
      const StateColumn& state = layout.columns()[column];
      std::vector<py::ssize_t> shape = {n};
      if (state.field->per_dim) shape.push_back(static_cast<py::ssize_t>(state.count));
      ByteBuffer& buffer = buffers[3 + column];
      fields.append(py::make_tuple(std::string(state.field->name), state.is_integer()
                                                                       ? Adopt<std::int64_t>(buffer, std::move(shape))
                                                                       : Adopt<float>(buffer, std::move(shape))));
    }
    segments.append(py::make_tuple(std::string(TraitsOf(layout.segments()[i].kind).name), fields));
  }
  return py::make_tuple(Adopt<std::int64_t>(buffers[0], {n}),
                        Adopt<float>(buffers[1], {n, static_cast<py::ssize_t>(layout.dim())}),
                        Adopt<std::int64_t>(buffers[2], {n}), segments);
}

py::tuple ReadFiles(const std::vector<std::string>& paths, py::handle compression_name, std::size_t threads) {
  const Compression compression = ToCompression(compression_name);
  return ToPython(RunInterruptibly([&] {
    return compression == Compression::kNone
               ? ReadTableFiles(paths, std::nullopt, threads)
               : ReadTableStreams(paths, std::nullopt, Opener(compression), StreamThreads(compression, threads));
  }));
}

using PythonParts = std::vector<std::pair<std::size_t, std::uint64_t>>;

using PythonFiles = std::vector<std::pair<std::string, PythonParts>>;

std::vector<MultiTableFile> ToFiles(const PythonFiles& files, std::size_t tables) {
  std::vector<MultiTableFile> converted;
  for (const auto& [path, parts] : files) {
    MultiTableFile file{path, {}};
    for (const auto& [table, entries] : parts) {
      if (table >= tables) throw Error(ErrorKind::kInvalidArgument, "parts: got a table that does not exist");
      file.parts.push_back({table, entries});
    }
    converted.push_back(std::move(file));
  }
  return converted;
}

py::list ReadMultiFiles(const PythonFiles& files, std::size_t tables, std::size_t threads) {
  const std::vector<MultiTableFile> converted = ToFiles(files, tables);
  std::vector<EntryBatch> batches = RunInterruptibly([&] { return ReadSnappyTableFiles(converted, tables, threads); });
  py::list result;
  for (EntryBatch& batch : batches) result.append(ToPython(std::move(batch)));
  return result;
}

class MultiIterator {
 public:
  MultiIterator(const PythonFiles& files, std::size_t tables)
      : iterator_(ToFiles(files, tables), tables, OpenSnappyRecords) {}

  py::tuple Next(std::size_t max_rows) {
    MultiTableIterator::Chunk chunk;
    {
      const GilRelease release;
      const std::lock_guard lock(mutex_);
      chunk = iterator_.Next(max_rows);
    }
    return py::make_tuple(chunk.table, ToPython(std::move(chunk.batch)));
  }

  void SkipPart() {
    const GilRelease release;
    const std::lock_guard lock(mutex_);
    iterator_.SkipPart();
  }

 private:
  std::mutex mutex_;
  MultiTableIterator iterator_;
};

class Iterator {
 public:
  Iterator(std::vector<std::string> paths, py::handle compression)
      : iterator_(std::move(paths), std::nullopt, Opener(ToCompression(compression))) {}

  py::tuple Next(std::size_t max_rows) {
    EntryBatch batch;
    {
      const GilRelease release;
      const std::lock_guard lock(mutex_);
      batch = iterator_.Next(max_rows);
    }
    return ToPython(std::move(batch));
  }

 private:
  std::mutex mutex_;
  TableIterator iterator_;
};

void CheckShape(const py::array& array, const std::string& what, std::vector<py::ssize_t> want) {
  const std::vector<py::ssize_t> got(array.shape(), array.shape() + array.ndim());
  if (got == want) return;
  throw Error(ErrorKind::kInvalidArgument, what + ": got shape " +
                                               py::cast<std::string>(py::str(py::tuple(py::cast(got)))) + ", want " +
                                               py::cast<std::string>(py::str(py::tuple(py::cast(want)))));
}

// Borrows the columns of a table for writing.
class TableColumns {
 public:
  using Segments = std::vector<std::pair<std::string, std::vector<py::array>>>;

  TableColumns(Ids ids, Floats values, Ids timestamps, const Segments& segments)
      : encoder_(LayoutOf(values, segments)) {
    const py::ssize_t n = ids.size();
    const EntryLayout& layout = encoder_.layout();
    CheckShape(ids, "ids", {n});
    CheckShape(values, "values", {n, static_cast<py::ssize_t>(layout.dim())});
    CheckShape(timestamps, "timestamps", {n});
    ids_ = {ids.data(), static_cast<std::size_t>(n)};
    source_ = {ids.data(), values.data(), timestamps.data(), {}};
    held_ = {ids, values, timestamps};
    std::size_t column = 0;
    for (const auto& [kind, arrays] : segments) {
      for (const py::array& array : arrays) {
        const StateColumn& state = layout.columns()[column++];
        const std::string what = kind + "'s " + std::string(state.field->name);
        std::vector<py::ssize_t> want = {n};
        if (state.field->per_dim) want.push_back(static_cast<py::ssize_t>(state.count));
        CheckShape(array, what, std::move(want));
        const bool fits = state.is_integer() ? py::isinstance<Ids>(array) : py::isinstance<Floats>(array);
        if (!fits) {
          throw Error(ErrorKind::kInvalidArgument,
                      what + ": want contiguous " + (state.is_integer() ? "int64" : "float32") + " values");
        }
        source_.states.push_back(array.data());
        held_.push_back(array);
      }
    }
  }

  // Chooses and orders the rows to be written, and returns how many there are.
  std::size_t Plan(const std::optional<std::vector<std::uint32_t>>& days, std::int64_t max_update_time,
                   std::size_t threads) {
    if (days && days->size() != TableExpiry::kSlots) {
      throw Error(ErrorKind::kInvalidArgument,
                  "days: got " + std::to_string(days->size()) + " slots, want " + std::to_string(TableExpiry::kSlots));
    }
    return RunInterruptibly([&] {
      std::optional<TableExpiry> expiry;
      if (days) expiry = {*days, max_update_time};
      entry_size_ = encoder_.CommonSize(source_, ids_.size());
      rows_ = OrderRows(ids_, source_.timestamps, expiry ? &*expiry : nullptr, threads);
      return rows_.size();
    });
  }

  TableToWrite ToWrite() const { return {encoder_, source_, rows_, entry_size_}; }

 private:
  static EntryLayout LayoutOf(const Floats& values, const Segments& segments) {
    if (values.ndim() != 2) {
      throw Error(ErrorKind::kInvalidArgument, "values: got " + std::to_string(values.ndim()) + " dimensions, want 2");
    }
    std::vector<SegmentLayout> layouts;
    py::ssize_t known = 0;
    for (const auto& [kind, arrays] : segments) {
      const OptimizerTraits* const traits = FindOptimizer(kind);
      if (traits == nullptr || traits->dump_field == 0) {
        throw Error(ErrorKind::kInvalidArgument, "optimizer: got '" + kind + "', which has no dump");
      }
      if (arrays.size() != traits->state.size()) {
        throw Error(ErrorKind::kInvalidArgument, "columns of " + kind + ": got " + std::to_string(arrays.size()) +
                                                     ", want " + std::to_string(traits->state.size()));
      }
      py::ssize_t dim = 0;
      for (std::size_t i = 0; i < arrays.size() && dim == 0; ++i) {
        if (traits->state[i].per_dim && arrays[i].ndim() == 2) dim = arrays[i].shape(1);
      }
      // Of all segments together, so that none of them is too large for its field. Readers refuse such dumps too.
      if (dim > values.shape(1) - known) {
        throw Error(ErrorKind::kInvalidArgument, "dimensions with an optimizer state: got " +
                                                     std::to_string(known + dim) + ", want at most " +
                                                     std::to_string(values.shape(1)));
      }
      known += dim;
      layouts.push_back({static_cast<std::int32_t>(dim), traits->kind});
    }
    return EntryLayout(std::move(layouts), static_cast<std::size_t>(values.shape(1)));
  }

  EntryEncoder encoder_;
  std::span<const std::int64_t> ids_;
  EntrySource source_;
  std::vector<std::uint64_t> rows_;
  std::optional<std::size_t> entry_size_;
  std::vector<py::array> held_;
};

class FileWriter {
 public:
  FileWriter(const std::string& path, py::handle compression, bool packed)
      : writer_(path, WriteOpener(ToCompression(compression)), packed) {}

  // Rows [begin, end) of those that the columns' plan() chose.
  void Append(const TableColumns& columns, std::size_t begin, std::size_t end) {
    const TableToWrite table = columns.ToWrite();
    if (begin > end || end > table.rows.size()) throw Error(ErrorKind::kInvalidArgument, "rows: not in the table");
    const GilRelease release;
    const std::lock_guard lock(mutex_);
    writer_.Append(table, begin, end);
  }

  void Close() {
    const GilRelease release;
    const std::lock_guard lock(mutex_);
    writer_.Close();
  }

 private:
  std::mutex mutex_;
  TableFileWriter writer_;
};

void WriteFiles(const std::vector<std::string>& paths, const std::vector<const TableColumns*>& tables,
                py::handle compression_name, std::size_t threads) {
  const Compression compression = ToCompression(compression_name);
  std::vector<TableToWrite> converted;
  for (const TableColumns* table : tables) converted.push_back(table->ToWrite());
  RunInterruptibly([&] {
    if (compression == Compression::kNone && converted.size() == 1) {
      WriteTableFiles(paths, converted.front(), threads);
    } else if (compression == Compression::kSnappy) {
      WriteSnappyTableFiles(paths, converted, threads);
    } else {
      WriteTableStreams(paths, converted, WriteOpener(compression), 1);
    }
  });
}

// [(kind, [(field, per_dim, is_integer)])] of each kind that a dump can hold.
py::list OptimizerStates() {
  py::list all;
  for (const OptimizerTraits& traits : AllOptimizers()) {
    if (traits.dump_field == 0) continue;
    py::list fields;
    for (const StateField& field : traits.state) {
      fields.append(py::make_tuple(std::string(field.name), field.per_dim, field.is_integer));
    }
    all.append(py::make_tuple(std::string(traits.name), fields));
  }
  return all;
}

const EntryTagsImplementation& FindTags(const std::string& name) {
  for (const EntryTagsImplementation& present : EntryTagsImplementations()) {
    if (name == present.name) return present;
  }
  throw Error(ErrorKind::kInvalidArgument, "implementation: got '" + name + "', which is not present");
}

std::vector<std::string> TagImplementations() {
  std::vector<std::string> names;
  for (const EntryTagsImplementation& present : EntryTagsImplementations()) names.emplace_back(present.name);
  return names;
}

py::object StripTags(const std::string& tagged, std::uint8_t tag, const std::string& implementation) {
  Floats floats(static_cast<py::ssize_t>(tagged.size() / kTaggedFloatBytes));
  const auto* const in = reinterpret_cast<const std::uint8_t*>(tagged.data());
  const bool good =
      FindTags(implementation).strip(in, static_cast<std::size_t>(floats.size()), tag, floats.mutable_data());
  return good ? py::object(std::move(floats)) : py::none();
}

py::bytes InsertTags(const Floats& floats, std::uint8_t tag, const std::string& implementation) {
  std::string tagged(static_cast<std::size_t>(floats.size()) * kTaggedFloatBytes, '\0');
  FindTags(implementation)
      .insert(floats.data(), static_cast<std::size_t>(floats.size()), tag,
              reinterpret_cast<std::uint8_t*>(tagged.data()));
  return tagged;
}

}  // namespace

void RegisterTableFile(py::module_& module) {
  module.def("read_table_files", &ReadFiles, py::arg("paths"), py::arg("compression"), py::arg("threads"));
  module.def("read_multi_table_files", &ReadMultiFiles, py::arg("files"), py::arg("tables"), py::arg("threads"));
  module.def("write_table_files", &WriteFiles, py::arg("paths"), py::arg("tables"), py::arg("compression"),
             py::arg("threads"));
  module.def("optimizer_states", &OptimizerStates);
  module.def("entry_tag_implementations", &TagImplementations);
  module.def("strip_entry_tags", &StripTags, py::arg("tagged"), py::arg("tag"), py::arg("implementation"));
  module.def("insert_entry_tags", &InsertTags, py::arg("floats"), py::arg("tag"), py::arg("implementation"));
  py::class_<Iterator>(module, "TableIterator")
      .def(py::init<std::vector<std::string>, py::handle>(), py::arg("paths"), py::arg("compression"))
      .def("next", &Iterator::Next, py::arg("max_rows"));
  py::class_<MultiIterator>(module, "MultiTableIterator")
      .def(py::init<const PythonFiles&, std::size_t>(), py::arg("files"), py::arg("tables"))
      .def("next", &MultiIterator::Next, py::arg("max_rows"))
      .def("skip_part", &MultiIterator::SkipPart);
  py::class_<FileWriter>(module, "TableFileWriter")
      .def(py::init<const std::string&, py::handle, bool>(), py::arg("path"), py::arg("compression"), py::arg("packed"))
      .def("append", &FileWriter::Append, py::arg("columns"), py::arg("begin"), py::arg("end"))
      .def("close", &FileWriter::Close);
  py::class_<TableColumns>(module, "TableColumns")
      .def(py::init<Ids, Floats, Ids, const TableColumns::Segments&>(), py::arg("ids").noconvert(),
           py::arg("values").noconvert(), py::arg("timestamps").noconvert(), py::arg("segments"))
      .def("plan", &TableColumns::Plan, py::arg("days"), py::arg("max_update_time"), py::arg("threads"));
}

}  // namespace mexport
