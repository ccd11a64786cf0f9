#include "bindings/record_codecs.h"

#include <pybind11/pybind11.h>

#include <utility>

#include "core/error.h"
#include "core/record_codec.h"
#include "core/record_deflate.h"
#include "core/record_snappy.h"

namespace py = pybind11;

namespace mexport {
namespace {

// What TensorFlow gives to zlib; see docs/formats/tfrecord.md.
constexpr int kDefaultLevel = -1;
constexpr int kMemLevel = 9;

int WindowBits(DeflateFormat format) { return format == DeflateFormat::kZlib ? 15 : 15 + 16; }

py::object View(std::span<const std::uint8_t> bytes) {
  return py::memoryview::from_memory(bytes.data(), static_cast<py::ssize_t>(bytes.size()));
}

py::object WritableView(std::span<std::uint8_t> bytes) {
  return py::memoryview::from_memory(static_cast<void*>(bytes.data()), static_cast<py::ssize_t>(bytes.size()));
}

class ZlibEncoder final : public StreamEncoder {
 public:
  explicit ZlibEncoder(DeflateFormat format) : zlib_(py::module_::import("zlib")) {
    object_ = zlib_.attr("compressobj")(kDefaultLevel, zlib_.attr("DEFLATED"), WindowBits(format), kMemLevel);
  }

  void Encode(std::span<const std::uint8_t> in, ByteSink& out) override {
    Pass([&] { return object_.attr("compress")(View(in)); }, out);
  }
  void Flush(ByteSink& out) override {
    Pass([&] { return object_.attr("flush")(zlib_.attr("Z_PARTIAL_FLUSH")); }, out);
  }
  void Finish(ByteSink& out) override {
    Pass([&] { return object_.attr("flush")(); }, out);
  }

 private:
  // The copy lets the sink write without the GIL.
  template <typename Encode>
  static void Pass(Encode encode, ByteSink& out) {
    std::string bytes;
    {
      py::gil_scoped_acquire gil;
      bytes = py::cast<std::string>(encode());
    }
    out.Append(bytes.data(), bytes.size());
  }

  py::module_ zlib_;
  py::object object_;
};

class ZlibDecoder final : public StreamDecoder {
 public:
  explicit ZlibDecoder(DeflateFormat format) : zlib_(py::module_::import("zlib")), format_(format) { Renew(); }

  Step Decode(std::span<const std::uint8_t> in, std::span<std::uint8_t> out) override {
    py::gil_scoped_acquire gil;
    try {
      const py::bytes bytes = object_.attr("decompress")(View(in), out.size());
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
    py::gil_scoped_acquire gil;
    Renew();
  }

 private:
  void Renew() { object_ = zlib_.attr("decompressobj")(WindowBits(format_)); }

  py::module_ zlib_;
  DeflateFormat format_;
  py::object object_;
};

class CramjamSnappy final : public BlockCodec {
 public:
  CramjamSnappy() : snappy_(py::module_::import("cramjam")) {
    damage_ = snappy_.attr("DecompressionError");
    snappy_ = snappy_.attr("snappy");
  }

  std::size_t Compress(std::span<const std::uint8_t> in, std::span<std::uint8_t> out) override {
    py::gil_scoped_acquire gil;
    return py::cast<std::size_t>(snappy_.attr("compress_raw_into")(View(in), WritableView(out)));
  }

  void Decompress(std::span<const std::uint8_t> in, std::span<std::uint8_t> out) override {
    py::gil_scoped_acquire gil;
    try {
      const auto size = py::cast<std::size_t>(snappy_.attr("decompress_raw_into")(View(in), WritableView(out)));
      if (size == out.size()) return;
      throw Error(ErrorKind::kRecordCompression, "damaged snappy block: got " + std::to_string(size) +
                                                     " uncompressed bytes, want " + std::to_string(out.size()));
    } catch (const py::error_already_set& error) {
      if (!error.matches(damage_)) throw;
      throw Error(ErrorKind::kRecordCompression,
                  "damaged snappy block: " + py::cast<std::string>(py::str(error.value())));
    }
  }

 private:
  py::object snappy_;
  py::object damage_;
};

[[noreturn]] void RefuseCompression(const std::string& compression) {
  throw Error(ErrorKind::kInvalidArgument,
              "compression: got '" + compression + "', want none, 'zlib', 'gzip' or 'snappy'");
}

}  // namespace

std::unique_ptr<ByteSink> Compressed(std::unique_ptr<ByteSink> inner, const std::string& compression) {
  if (compression.empty()) return inner;
  if (compression == "zlib") {
    return std::make_unique<DeflateSink>(std::move(inner), std::make_unique<ZlibEncoder>(DeflateFormat::kZlib));
  }
  if (compression == "gzip") {
    return std::make_unique<DeflateSink>(std::move(inner), std::make_unique<ZlibEncoder>(DeflateFormat::kGzip));
  }
  if (compression == "snappy") return std::make_unique<SnappySink>(std::move(inner), std::make_unique<CramjamSnappy>());
  RefuseCompression(compression);
}

std::unique_ptr<ByteSource> Decompressed(std::unique_ptr<ByteSource> inner, const std::string& compression) {
  if (compression.empty()) return inner;
  if (compression == "zlib") {
    return std::make_unique<InflateSource>(std::move(inner), std::make_unique<ZlibDecoder>(DeflateFormat::kZlib),
                                           DeflateFormat::kZlib);
  }
  if (compression == "gzip") {
    return std::make_unique<InflateSource>(std::move(inner), std::make_unique<ZlibDecoder>(DeflateFormat::kGzip),
                                           DeflateFormat::kGzip);
  }
  if (compression == "snappy") {
    return std::make_unique<SnappySource>(std::move(inner), std::make_unique<CramjamSnappy>());
  }
  RefuseCompression(compression);
}

}  // namespace mexport
