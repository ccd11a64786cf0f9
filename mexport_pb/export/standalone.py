"""The whole model as one SavedModel."""

from __future__ import annotations

from mexport_pb.export.base import BaseExporter
from mexport_pb.export.context import ExportContext, ExportMode, enter_export_mode
from mexport_pb.export.spec import ReceiverFn
from mexport_pb.export.writer import Path_

__all__ = ["StandaloneExporter"]


class StandaloneExporter(BaseExporter):
    """Exports the whole model as one SavedModel, ``<export_dir_base>/<version>``."""

    def export_saved_model(
        self,
        serving_input_receiver_fn: ReceiverFn,
        checkpoint_path: Path_ | None = None,
        global_step: int | None = None,
    ) -> bytes:
        """Exports the model; see :meth:`BaseExporter.export_saved_model`.

        Raises:
            InvalidArgumentError: There is no checkpoint, or the model_fn's outputs cannot be exported.
            MexportError: As :func:`mexport_pb.write_saved_model`.
        """
        context = ExportContext(source=self._source)
        checkpoint = self._find_checkpoint(checkpoint_path)
        with enter_export_mode(ExportMode.STANDALONE, context), self._export_environment():
            graph = self._source.new_graph()
            self._run_model_fn(graph, context, serving_input_receiver_fn)
            return self._export_saved_model_from_graph(
                graph,
                checkpoint,
                self._export_dir_base,
                export_ctx=context,
                assets_extra=self.gen_warmup_assets(graph, context),
                global_step=global_step,
            )
