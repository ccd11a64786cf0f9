#include "bindings/record_codecs.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "bindings/gil.h"
#include "core/error.h"
#include "core/record_codec.h"
#include "core/record_deflate.h"
#include "core/record_snappy.h"
#include "core/snappy.h"

namespace py = pybind11;

namespace mexport {
namespace {

// What TensorFlow gives to zlib; see docs/formats/tfrecord.md.
constexpr int kDefaultLevel = -1;
constexpr int kMemLevel = 9;

int WindowBits(DeflateFormat format) { return format == DeflateFormat::kZlib ? 15 : 15 + 16; }

// A borrowed view, which the callee must not keep.
py::object View(std::span<const std::uint8_t> bytes) {
  // PyBUF_READ: nothing is written.
  auto* data = const_cast<char*>(reinterpret_cast<const char*>(bytes.data()));
  return NewFromPython(
      [&] { return PyMemoryView_FromMemory(data, static_cast<Py_ssize_t>(bytes.size()), PyBUF_READ); });
}

py::object Import(const char* name) {
  return NewFromPython([&] { return PyImport_ImportModule(name); });
}

class ZlibEncoder final : public StreamEncoder {
 public:
  explicit ZlibEncoder(DeflateFormat format) : zlib_(Import("zlib")) {
    object_ = zlib_.attr("compressobj")(kDefaultLevel, zlib_.attr("DEFLATED"), WindowBits(format), kMemLevel);
  }

  void Encode(std::span<const std::uint8_t> in, ByteSink& out) override {
    Pass(
        [&] {
          const py::object view = View(in);
          return NewFromPython([&] { return PyObject_CallMethod(object_.ptr(), "compress", "O", view.ptr()); });
        },
        out);
  }
  void Flush(ByteSink& out) override {
    Pass(
        [&] {
          const py::object mode = zlib_.attr("Z_PARTIAL_FLUSH");
          return NewFromPython([&] { return PyObject_CallMethod(object_.ptr(), "flush", "O", mode.ptr()); });
        },
        out);
  }
  void Finish(ByteSink& out) override {
    Pass([&] { return NewFromPython([&] { return PyObject_CallMethod(object_.ptr(), "flush", nullptr); }); }, out);
  }

 private:
  // The copy lets the sink write without the GIL.
  template <typename Encode>
  static void Pass(Encode encode, ByteSink& out) {
    std::string bytes;
    {
      const GilAcquire gil;
      bytes = py::cast<std::string>(encode());
    }
    out.Append(bytes.data(), bytes.size());
  }

  py::object zlib_;
  py::object object_;
};

class ZlibDecoder final : public StreamDecoder {
 public:
  explicit ZlibDecoder(DeflateFormat format) : zlib_(Import("zlib")), format_(format) { Renew(); }

  Step Decode(std::span<const std::uint8_t> in, std::span<std::uint8_t> out) override {
    const GilAcquire gil;
    try {
      const py::object view = View(in);
      const auto room = static_cast<Py_ssize_t>(out.size());
      const py::bytes bytes =
          NewFromPython([&] { return PyObject_CallMethod(object_.ptr(), "decompress", "On", view.ptr(), room); });
      const std::string_view produced = bytes;
      std::copy(produced.begin(), produced.end(), out.begin());
      const std::size_t left = py::len(object_.attr("unconsumed_tail")) + py::len(object_.attr("unused_data"));
      return {in.size() - left, produced.size(), py::cast<bool>(object_.attr("eof"))};
    } catch (const py::error_already_set& error) {
      if (!error.matches(zlib_.attr("error"))) throw;
      throw Error(ErrorKind::kRecordCompression, std::string("damaged ") +
                                                     (format_ == DeflateFormat::kZlib ? "zlib" : "gzip") +
                                                     " stream: " + py::cast<std::string>(py::str(error.value())));
    }
  }

  void Reset() override {
    const GilAcquire gil;
    Renew();
  }

 private:
  void Renew() { object_ = zlib_.attr("decompressobj")(WindowBits(format_)); }

  py::object zlib_;
  DeflateFormat format_;
  py::object object_;
};

}  // namespace

Compression ToCompression(py::handle name) {
  if (name.is_none()) return Compression::kNone;
  if (py::isinstance<py::str>(name)) {
    const auto lower = py::cast<std::string>(name.attr("lower")());
    if (lower.empty()) return Compression::kNone;
    if (lower == "zlib") return Compression::kZlib;
    if (lower == "gzip") return Compression::kGzip;
    if (lower == "snappy") return Compression::kSnappy;
  }
  throw Error(ErrorKind::kInvalidArgument,
              "compression: got " + py::cast<std::string>(py::repr(name)) + ", want None, 'zlib', 'gzip' or 'snappy'");
}

std::unique_ptr<ByteSink> Compressed(std::unique_ptr<ByteSink> inner, Compression compression) {
  switch (compression) {
    case Compression::kNone:
      break;
    case Compression::kZlib:
      return std::make_unique<DeflateSink>(std::move(inner), std::make_unique<ZlibEncoder>(DeflateFormat::kZlib));
    case Compression::kGzip:
      return std::make_unique<DeflateSink>(std::move(inner), std::make_unique<ZlibEncoder>(DeflateFormat::kGzip));
    case Compression::kSnappy:
      return std::make_unique<SnappySink>(std::move(inner), std::make_unique<Snappy>());
  }
  return inner;
}

std::unique_ptr<ByteSource> Decompressed(std::unique_ptr<ByteSource> inner, Compression compression,
                                         std::uint64_t max_record_bytes) {
  switch (compression) {
    case Compression::kNone:
      break;
    case Compression::kZlib:
      return std::make_unique<InflateSource>(std::move(inner), std::make_unique<ZlibDecoder>(DeflateFormat::kZlib),
                                             DeflateFormat::kZlib);
    case Compression::kGzip:
      return std::make_unique<InflateSource>(std::move(inner), std::make_unique<ZlibDecoder>(DeflateFormat::kGzip),
                                             DeflateFormat::kGzip);
    case Compression::kSnappy:
      return std::make_unique<SnappySource>(std::move(inner), std::make_unique<Snappy>(), max_record_bytes);
  }
  return inner;
}

}  // namespace mexport
