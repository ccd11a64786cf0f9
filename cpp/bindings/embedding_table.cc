// Embedding tables for mexport_pb/table: numpy arrays in and out, work without the GIL.
#include "core/embedding_table.h"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdlib>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings/bindings.h"
#include "core/error.h"
#include "core/multi_table.h"

namespace py = pybind11;

namespace mexport {
namespace {

[[noreturn]] void Fail(const std::string& what, const std::string& got, const std::string& want) {
  throw Error(ErrorKind::kInvalidArgument, what + ": got " + got + ", want " + want);
}

std::string Describe(const py::array& array) {
  return py::cast<std::string>(py::str(array.dtype())) + py::cast<std::string>(py::str(array.attr("shape")));
}

py::array ArrayOf(const char* what, const py::object& object) {
  if (!py::isinstance<py::array>(object)) {
    Fail(what, py::cast<std::string>(py::str(py::type::of(object).attr("__name__"))), "a numpy array");
  }
  auto array = py::reinterpret_borrow<py::array>(object);
  if ((array.flags() & py::array::c_style) == 0) Fail(what, "an array with gaps", "a C-contiguous one");
  return array;
}

std::span<const std::uint64_t> IdsOf(const py::array& ids) {
  const char kind = ids.dtype().kind();
  if ((kind != 'i' && kind != 'u') || ids.itemsize() != 8 || ids.dtype().byteorder() == '>') {
    Fail("ids", Describe(ids), "int64 or uint64");
  }
  return {static_cast<const std::uint64_t*>(ids.data()), static_cast<std::size_t>(ids.size())};
}

template <typename T>
bool IsOf(const py::array& array) {
  return array.dtype().equal(py::dtype::of<T>());
}

std::string WantShape(const char* dtype, const std::vector<std::size_t>& shape) {
  std::string text = std::string(dtype) + "[";
  for (std::size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + "]";
}

// An array of T in which every dimension but the last ones may be shaped as the caller likes.
template <typename T>
void CheckSize(const char* what, const char* dtype, const py::array& array, std::vector<std::size_t> shape) {
  std::size_t size = 1;
  for (const std::size_t extent : shape) size *= extent;
  const bool last_fits =
      shape.size() < 2 || (array.ndim() > 0 && static_cast<std::size_t>(array.shape(array.ndim() - 1)) == shape.back());
  if (IsOf<T>(array) && static_cast<std::size_t>(array.size()) == size && last_fits) return;
  Fail(what, Describe(array), WantShape(dtype, shape));
}

const float* FloatsOf(const char* what, const py::array& array, std::size_t n, std::size_t dim) {
  CheckSize<float>(what, "float32", array, {n, dim});
  return static_cast<const float*>(array.data());
}

template <typename T>
T* OutOf(const char* dtype, py::array& out, std::vector<std::size_t> shape) {
  CheckSize<T>("out", dtype, out, std::move(shape));
  if (!out.writeable()) Fail("out", "a read-only array", "a writeable one");
  return static_cast<T*>(out.mutable_data());
}

std::size_t Lookup(const EmbeddingTable& table, const py::object& ids, const py::object& out) {
  const py::array id_array = ArrayOf("ids", ids);
  py::array out_array = ArrayOf("out", out);
  const std::span<const std::uint64_t> view = IdsOf(id_array);
  float* const to = OutOf<float>("float32", out_array, {view.size(), table.dim()});
  const py::gil_scoped_release release;
  return table.Lookup(view, to);
}

std::size_t Contains(const EmbeddingTable& table, const py::object& ids, const py::object& out) {
  const py::array id_array = ArrayOf("ids", ids);
  py::array out_array = ArrayOf("out", out);
  const std::span<const std::uint64_t> view = IdsOf(id_array);
  bool* const to = OutOf<bool>("bool", out_array, {view.size()});
  static_assert(sizeof(bool) == 1);
  const py::gil_scoped_release release;
  return table.Contains(view, reinterpret_cast<std::uint8_t*>(to));
}

py::list LookupEntry(const EmbeddingTable& table, const py::object& ids) {
  const py::array id_array = ArrayOf("ids", ids);
  const std::span<const std::uint64_t> view = IdsOf(id_array);
  std::vector<std::string> entries;
  {
    const py::gil_scoped_release release;
    entries = table.LookupEntry(view);
  }
  py::list result(entries.size());
  for (std::size_t i = 0; i < entries.size(); ++i) result[i] = py::bytes(entries[i]);
  return result;
}

template <typename Method>
void AssignWith(EmbeddingTable& table, const py::object& ids, const py::object& values, std::int64_t update_time,
                Method method) {
  const py::array id_array = ArrayOf("ids", ids);
  const py::array value_array = ArrayOf("values", values);
  const std::span<const std::uint64_t> view = IdsOf(id_array);
  const float* const from = FloatsOf("values", value_array, view.size(), table.dim());
  const py::gil_scoped_release release;
  (table.*method)(view, from, update_time, Admit());
}

void Optimize(EmbeddingTable& table, const py::object& ids, const py::object& gradients,
              const std::vector<float>& learning_rates, std::int64_t update_time, std::int64_t global_step,
              bool sum_gradients) {
  const py::array id_array = ArrayOf("ids", ids);
  const py::array gradient_array = ArrayOf("gradients", gradients);
  const std::span<const std::uint64_t> view = IdsOf(id_array);
  const float* const from = FloatsOf("gradients", gradient_array, view.size(), table.dim());
  const py::gil_scoped_release release;
  table.Optimize(view, from,
                 {.learning_rates = learning_rates,
                  .update_time = update_time,
                  .global_step = global_step,
                  .sum_gradients = sum_gradients});
}

py::array_t<std::int32_t> Reinitialize(EmbeddingTable& table, const py::object& ids) {
  const py::array id_array = ArrayOf("ids", ids);
  const std::span<const std::uint64_t> view = IdsOf(id_array);
  py::array_t<std::int32_t> existed(static_cast<py::ssize_t>(view.size()));
  std::int32_t* const to = existed.mutable_data();
  {
    const py::gil_scoped_release release;
    table.Reinitialize(view, to);
  }
  return existed;
}

template <typename T>
py::array_t<T> Owned(ByteBuffer& buffer, std::vector<py::ssize_t> shape) {
  std::uint8_t* const bytes = buffer.Release();
  const py::capsule owner(bytes == nullptr ? std::malloc(1) : bytes, std::free);
  return py::array_t<T>(std::move(shape), reinterpret_cast<T*>(bytes), owner);
}

py::tuple ToColumns(EntryBatch batch) {
  const EntryLayout layout = batch.layout();
  const auto n = static_cast<py::ssize_t>(batch.rows());
  std::vector<ByteBuffer> buffers = batch.Release();
  py::list states;
  for (std::size_t i = 0; i < layout.columns().size(); ++i) {
    std::vector<py::ssize_t> shape{n};
    if (layout.columns()[i].field->per_dim) shape.push_back(static_cast<py::ssize_t>(layout.columns()[i].count));
    if (layout.columns()[i].is_integer()) {
      states.append(Owned<std::int64_t>(buffers[3 + i], shape));
    } else {
      states.append(Owned<float>(buffers[3 + i], shape));
    }
  }
  return py::make_tuple(Owned<std::int64_t>(buffers[0], {n}),
                        Owned<float>(buffers[1], {n, static_cast<py::ssize_t>(layout.dim())}),
                        Owned<std::int64_t>(buffers[2], {n}), states);
}

py::tuple Save(const EmbeddingTable& table, const std::optional<py::object>& ids) {
  if (!ids) {
    EntryBatch batch;
    {
      const py::gil_scoped_release release;
      batch = table.Save();
    }
    return ToColumns(std::move(batch));
  }
  const py::array id_array = ArrayOf("ids", *ids);
  const std::span<const std::uint64_t> view = IdsOf(id_array);
  EntryBatch batch;
  {
    const py::gil_scoped_release release;
    batch = table.Save(view);
  }
  return ToColumns(std::move(batch));
}

py::array_t<std::int64_t> Ids(const EmbeddingTable& table) {
  auto ids = std::make_unique<std::vector<std::uint64_t>>();
  {
    const py::gil_scoped_release release;
    *ids = table.Ids();
  }
  const auto size = static_cast<py::ssize_t>(ids->size());
  auto* const data = reinterpret_cast<std::int64_t*>(ids->data());
  const py::capsule owner(ids.release(), [](void* p) { delete static_cast<std::vector<std::uint64_t>*>(p); });
  return py::array_t<std::int64_t>(size, data, owner);
}

// The columns of a dump for one table; holds the arrays.
struct Columns {
  std::vector<py::array> arrays;
  EntrySource source;
  std::size_t n;
};

Columns ColumnsOf(const EmbeddingTable& table, const py::object& ids, const py::object& values,
                  const py::object& timestamps, const std::vector<py::object>& states) {
  const py::array id_array = ArrayOf("ids", ids);
  const py::array value_array = ArrayOf("values", values);
  const py::array time_array = ArrayOf("timestamps", timestamps);
  const std::span<const std::uint64_t> view = IdsOf(id_array);
  const std::size_t n = view.size();
  CheckSize<std::int64_t>("timestamps", "int64", time_array, {n});
  Columns result;
  result.n = n;
  EntrySource& source = result.source;
  source.ids = reinterpret_cast<const std::int64_t*>(view.data());
  source.values = FloatsOf("values", value_array, n, table.dim());
  source.timestamps = static_cast<const std::int64_t*>(time_array.data());
  std::vector<py::array> arrays;
  for (const py::object& state : states) arrays.push_back(ArrayOf("optimizer state", state));
  // A serving table looks at none of them.
  const std::vector<StateColumn>& columns = table.format().layout().columns();
  for (std::size_t i = 0; i < arrays.size() && i < columns.size(); ++i) {
    std::vector<std::size_t> shape{n};
    if (columns[i].field->per_dim) shape.push_back(columns[i].count);
    if (columns[i].is_integer()) {
      CheckSize<std::int64_t>("optimizer state", "int64", arrays[i], shape);
    } else {
      CheckSize<float>("optimizer state", "float32", arrays[i], shape);
    }
    source.states.push_back(arrays[i].data());
  }
  if (arrays.size() > columns.size() && table.format().training()) source.states.resize(arrays.size());
  arrays.insert(arrays.end(), {id_array, value_array, time_array});
  result.arrays = std::move(arrays);
  return result;
}

void Restore(EmbeddingTable& table, const py::object& ids, const py::object& values, const py::object& timestamps,
             const std::vector<py::object>& states, bool clear) {
  const Columns columns = ColumnsOf(table, ids, values, timestamps, states);
  const py::gil_scoped_release release;
  table.Restore(columns.source, columns.n, clear);
}

// By their names in OptimizerConfig, one for each segment; none for a serving table.
py::list Optimizers(const EmbeddingTable& table) {
  py::list names;
  for (const SegmentLayout& segment : table.format().layout().segments()) names.append(TraitsOf(segment.kind).name);
  return names;
}

std::span<const std::uint8_t> ConfigBytes(const py::bytes& config) {
  const std::string_view view = config;
  return {reinterpret_cast<const std::uint8_t*>(view.data()), view.size()};
}

py::list SaveTables(const MultiTable& tables) {
  std::vector<EntryBatch> batches;
  {
    const py::gil_scoped_release release;
    batches = tables.Save();
  }
  py::list result;
  for (EntryBatch& batch : batches) result.append(ToColumns(std::move(batch)));
  return result;
}

// The index of a table, ids, values, timestamps, states.
using Dump = std::tuple<std::size_t, py::object, py::object, py::object, std::vector<py::object>>;

void RestoreTables(const MultiTable& tables, const std::vector<Dump>& dumps) {
  std::vector<std::pair<EmbeddingTable*, Columns>> all;
  for (const auto& [index, ids, values, timestamps, states] : dumps) {
    EmbeddingTable* const table = tables.tables().at(index).second.get();
    all.emplace_back(table, ColumnsOf(*table, ids, values, timestamps, states));
  }
  const py::gil_scoped_release release;
  for (const auto& [table, columns] : all) table->CheckRestore(columns.source, columns.n);
  for (const auto& [table, columns] : all) table->Restore(columns.source, columns.n, false);
}

}  // namespace

void RegisterEmbeddingTable(py::module_& module) {
  using Guard = py::call_guard<py::gil_scoped_release>;
  py::class_<EmbeddingTable, std::shared_ptr<EmbeddingTable>>(module, "EmbeddingTable")
      .def(py::init([](const py::bytes& config) { return std::make_shared<EmbeddingTable>(ConfigBytes(config)); }),
           py::arg("config"))
      .def_property_readonly("config",
                             [](const EmbeddingTable& table) {
                               const auto& bytes = table.config_bytes();
                               return py::bytes(reinterpret_cast<const char*>(bytes.data()), bytes.size());
                             })
      .def_property_readonly("dim", &EmbeddingTable::dim)
      .def_property_readonly("segments", [](const EmbeddingTable& table) { return table.format().segments(); })
      .def_property_readonly("training", [](const EmbeddingTable& table) { return table.format().training(); })
      .def_property_readonly("optimizers", &Optimizers)
      .def_property_readonly("size", &EmbeddingTable::size)
      .def_property_readonly("memory_bytes", py::cpp_function(&EmbeddingTable::memory_bytes, Guard()))
      .def_property_readonly("max_update_time", &EmbeddingTable::max_update_time)
      .def("lookup", &Lookup, py::arg("ids"), py::arg("out"))
      .def("contains", &Contains, py::arg("ids"), py::arg("out"))
      .def("lookup_entry", &LookupEntry, py::arg("ids"))
      .def(
          "assign",
          [](EmbeddingTable& table, const py::object& ids, const py::object& values, std::int64_t update_time) {
            AssignWith(table, ids, values, update_time, &EmbeddingTable::Assign);
          },
          py::arg("ids"), py::arg("values"), py::arg("update_time"))
      .def(
          "assign_add",
          [](EmbeddingTable& table, const py::object& ids, const py::object& values, std::int64_t update_time) {
            AssignWith(table, ids, values, update_time, &EmbeddingTable::AssignAdd);
          },
          py::arg("ids"), py::arg("values"), py::arg("update_time"))
      .def("optimize", &Optimize, py::arg("ids"), py::arg("gradients"), py::arg("learning_rates"),
           py::arg("update_time"), py::arg("global_step"), py::arg("sum_gradients"))
      .def("reinitialize", &Reinitialize, py::arg("ids"))
      .def("evict", &EmbeddingTable::Evict, py::arg("time"), Guard())
      .def("clear", &EmbeddingTable::Clear, Guard())
      .def("ids", &Ids)
      .def("save", &Save, py::arg("ids"))
      .def("restore", &Restore, py::arg("ids"), py::arg("values"), py::arg("timestamps"), py::arg("states"),
           py::arg("clear"))
      .def("swap", &EmbeddingTable::Swap, py::arg("other"), Guard());

  py::class_<MultiTable>(module, "MultiTable")
      .def(py::init([](const py::bytes& config) { return std::make_unique<MultiTable>(ConfigBytes(config)); }),
           py::arg("config"))
      .def_property_readonly("tables",
                             [](const MultiTable& tables) {
                               py::list list;
                               for (const auto& [name, table] : tables.tables()) {
                                 list.append(py::make_tuple(py::bytes(name), table));
                               }
                               return list;
                             })
      .def("save", &SaveTables)
      .def("restore", &RestoreTables, py::arg("dumps"));
}

}  // namespace mexport
