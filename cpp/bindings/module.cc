// Registers what the other files of this folder bind.
#include "bindings/bindings.h"
#include "bindings/gil.h"

PYBIND11_MODULE(_core, module) {
  module.doc() = "The compiled part of mexport_pb.";
  mexport::InstallInterruptHook();
  mexport::RegisterErrors();
  mexport::RegisterBundle(module);
  mexport::RegisterEmbeddingTable(module);
  mexport::RegisterRecord(module);
  mexport::RegisterTableFile(module);
}
