"""Warmup files with random requests that cover a model's signatures."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

import numpy as np

from mexport_pb._proto.saved_model_pb2 import SignatureDef
from mexport_pb._proto.serving_pb2 import PredictionLog, PredictRequest
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.messages import make_model_spec, make_prediction_log, make_tensor_proto
from mexport_pb.messages.constants import DEFAULT_SIGNATURE, SERVING_TAG
from mexport_pb.warmup.check import check_warmup
from mexport_pb.warmup.features import FeatureMeta
from mexport_pb.warmup.framed import INPUT_KEYS, Body
from mexport_pb.warmup.model import ModelLike, WarmupModel
from mexport_pb.warmup.random_data import DEFAULT_REQ_TIME, RandomData
from mexport_pb.warmup.random_requests import MAX_STRINGS, random_predict_request, random_signatures
from mexport_pb.warmup.read_requests import MAX_WARMUP_RECORDS
from mexport_pb.warmup.writer import write_warmup

__all__ = ["Variant", "gen_warmup_file"]

Variant: TypeAlias = Literal["instance", "example", "example_batch", "tensors"]

DEFAULT_MODEL_NAME: Final = "entry"
DEFAULT_BATCH_SIZE: Final = 64
DEFAULT_MAX_RECORDS: Final = 1000


def gen_warmup_file(
    path: str | os.PathLike[str],
    model: ModelLike | None = None,
    features: Sequence[FeatureMeta] = (),
    *,
    variant: Variant | None = None,
    signatures: Sequence[str] = (),
    batch_sizes: Sequence[int] = (DEFAULT_BATCH_SIZE,),
    max_records: int = DEFAULT_MAX_RECORDS,
    model_name: str = DEFAULT_MODEL_NAME,
    drop_rate: float = 0.5,
    seed: int = 0,
    req_time: int = DEFAULT_REQ_TIME,
    output_filters: bool = True,
    tags: Iterable[str] = (SERVING_TAG,),
    force: bool = False,
) -> str:
    """Write a warmup file of random requests, unless it is there. All or nothing; the same seed, the same bytes.

    Requests go round all pairs of a signature, in the order of their names, and a batch size, each at least once, until
    `max_records` rows are used up. Each request to ``serving_default`` comes again for each of its outputs alone, if it
    has several, or one that is not called ``output``.

    Args:
        path: The file. One that is there is kept, once its records have been read; `force` replaces it.
        model: What answers the requests, see :class:`~mexport_pb.warmup.WarmupWriter`.
        features: Of the training data that requests carry.
        variant: What is fed as the input ``instances`` (Instances), ``examples`` (Examples) or ``example_batch`` (one
            ExampleBatch), or "tensors" for random values of every input as its signature has it. None: by each
            signature's inputs, if there are features. Further inputs get random values.
        signatures: Which ones to ask; by default those of the model that take random requests, and without a model
            ``serving_default``. With features, those that were named must have the variant's input; others get tensors.
        batch_sizes: Rows of a request.
        max_records: Rows of all requests, those with an output filter not counted. The file has at most 1000 requests.
        model_name: The name in every model spec.
        drop_rate: The share of ids that may be absent and are.
        seed: An integer, 0 or above.
        req_time: Of all line ids, in seconds.
        output_filters: Whether requests come again for each output.
        tags: Which graph of a SavedModel.
        force: Replace a file that is there.

    Returns:
        The path.

    Raises:
        InvalidArgumentError: Arguments that do not go together, or too few rows to cover everything.
        UnsupportedError: An input that random values cannot be made for; name the signatures to ask.
        WarmupError: The model would refuse a request; or the file that is there is damaged.
        SavedModelError: The model cannot be read.
        OSError: A file cannot be read or written.
    """
    if os.path.lexists(path) and not force:
        for problem in check_warmup(path):
            if problem.severity == "error":
                raise problem.to_error(os.fspath(path))
        return os.fspath(path)
    if seed < 0 or max_records < 1:
        raise InvalidArgumentError(f"got seed {seed} and max_records {max_records}, want >= 0 and >= 1")
    if variant is not None and variant not in get_args(Variant):
        raise InvalidArgumentError(f"variant: got {variant!r}, want one of {', '.join(get_args(Variant))}")
    if variant in INPUT_KEYS and not features:
        raise InvalidArgumentError(f"variant {variant!r}: wants features")
    if variant == "tensors" and features:
        raise InvalidArgumentError("variant 'tensors': takes no features")
    for size in batch_sizes:
        if not 1 <= size <= MAX_STRINGS:
            raise InvalidArgumentError(f"batch size: got {size}, want 1 to {MAX_STRINGS}")
    known = None if model is None else WarmupModel.of(model, tags)
    data = RandomData(features, drop_rate, req_time) if features else None
    forms = _forms(None if known is None else known.signatures, variant, signatures, data is not None)
    maker = _Maker(forms, data, model_name, seed, output_filters)
    write_warmup(path, maker.logs(sorted(set(batch_sizes)), max_records), known, model_name=model_name, force=force)
    return os.fspath(path)


@dataclass(frozen=True, slots=True)
class _Form:
    """How a signature is asked."""

    name: str
    signature: SignatureDef | None
    body: Body | None


def _forms(
    known: Mapping[str, SignatureDef] | None, variant: Variant | None, names: Sequence[str], has_data: bool
) -> list[_Form]:
    if known is None:
        if variant is None or variant == "tensors":
            raise InvalidArgumentError("without a model: want the variant instance, example or example_batch")
        return [_Form(name, None, variant) for name in sorted(set(names) or {DEFAULT_SIGNATURE})]
    forms = []
    chosen = sorted(set(names)) or random_signatures(known)
    for name in chosen:
        if name not in known:
            raise InvalidArgumentError(f"signature {name!r}: the model has none of this name")
        inputs = known[name].inputs
        bodies = [] if not has_data else list(INPUT_KEYS) if variant is None else [variant]
        found = next((body for body in bodies if INPUT_KEYS[body] in inputs), None)
        if found is None and names and inputs and variant in INPUT_KEYS:
            raise InvalidArgumentError(f"signature {name!r}: has no input {INPUT_KEYS[variant]!r}")
        forms.append(_Form(name, known[name], _as_body(found)))
    if not forms:
        raise InvalidArgumentError("the model has no signature that takes random requests")
    if has_data and not any(form.body for form in forms):
        wanted = " or ".join(repr(key) for body, key in INPUT_KEYS.items() if variant in (None, body))
        raise InvalidArgumentError(f"features: no signature has the input {wanted}")
    return forms


def _as_body(name: str | None) -> Body | None:
    return next((body for body in get_args(Body) if body == name), None)


@dataclass(frozen=True, slots=True)
class _Maker:
    forms: list[_Form]
    data: RandomData | None
    model_name: str
    seed: int
    output_filters: bool

    def logs(self, sizes: Sequence[int], max_records: int) -> Iterator[PredictionLog]:
        turns = [(form, size) for size in sizes for form in self.forms]
        if not turns:
            raise InvalidArgumentError("batch sizes: got none, want at least one")
        rows = sum(size for _, size in turns)
        if rows > max_records:
            raise InvalidArgumentError(
                f"max_records: got {max_records}, want at least {rows} rows to ask {len(self.forms)} signatures with "
                f"batches of {', '.join(map(str, sizes))}"
            )
        requests = sum(1 + len(self._filters(form)) for form, _ in turns)
        if requests > MAX_WARMUP_RECORDS:
            raise InvalidArgumentError(f"got {requests} requests, want at most {MAX_WARMUP_RECORDS}, as a server takes")
        rows = requests = number = 0
        while True:
            form, size = turns[number % len(turns)]
            filters = self._filters(form)
            rows += size
            requests += 1 + len(filters)
            if rows > max_records or requests > MAX_WARMUP_RECORDS:
                return
            request = self._request(form, size, number)
            yield make_prediction_log(request)
            for output in filters:
                request.output_filter[:] = [output]
                yield make_prediction_log(request)
            number += 1

    def _filters(self, form: _Form) -> list[str]:
        if not self.output_filters or form.name != DEFAULT_SIGNATURE or form.signature is None:
            return []
        outputs = sorted(form.signature.outputs)
        return [] if outputs == ["output"] else outputs

    def _request(self, form: _Form, size: int, number: int) -> PredictRequest:
        key = None if form.body is None else INPUT_KEYS[form.body]
        if form.signature is None:
            request = PredictRequest(model_spec=make_model_spec(self.model_name, signature_name=form.name))
        else:
            others = SignatureDef()
            others.CopyFrom(form.signature)
            if key is not None:
                del others.inputs[key]
            request = random_predict_request(
                others, form.name, model_name=self.model_name, batch_size=size, seed=(self.seed, number)
            )
        if form.body is not None and key is not None:
            random = np.random.default_rng([self.seed, number, 1])
            request.inputs[key].CopyFrom(make_tensor_proto(self._bodies(form.body, random, size)))
        return request

    def _bodies(self, body: Body, random: np.random.Generator, size: int) -> np.ndarray:
        assert self.data is not None  # a form has a body only if there are features
        if body == "example_batch":
            batch = self.data.example_batch(random, size).SerializeToString(deterministic=True)
            return np.array([batch], object)
        return np.array([self.data.body(random, body) for _ in range(size)], object)
