import ml_dtypes
import numpy as np
import pytest

from mexport_pb import dtypes
from mexport_pb._proto import tensor_pb2
from mexport_pb.errors import InvalidArgumentError

BASE = [n for n in tensor_pb2.DataType.values() if 0 < n <= 100]
WITH_NUMPY = [n for n in BASE if n not in (tensor_pb2.DT_RESOURCE, tensor_pb2.DT_VARIANT)]


@pytest.mark.parametrize("number", BASE)
def test_every_name_of_a_type_leads_back_to_it(number):
    name = dtypes.name_of(number)
    assert dtypes.datatype_of(name) == number
    assert dtypes.datatype_of(tensor_pb2.DataType.Name(number)) == number
    assert dtypes.datatype_of(number) == number
    assert dtypes.datatype_of(f"{name}_ref") == dtypes.ref_datatype(number) == number + 100
    assert dtypes.base_datatype(number + 100) == dtypes.base_datatype(number) == number
    assert dtypes.is_ref(number + 100)
    assert not dtypes.is_ref(number)
    assert dtypes.name_of(number + 100) == f"{name}_ref"


@pytest.mark.parametrize("number", WITH_NUMPY)
def test_numpy_round_trip(number):
    dtype = dtypes.numpy_dtype(number)
    assert dtypes.datatype_of(dtype) == number
    assert dtypes.numpy_dtype(number + 100) == dtype
    if number != tensor_pb2.DT_STRING:
        assert dtypes.element_size(number) == np.zeros(3, dtype).nbytes // 3


@pytest.mark.parametrize(
    ("given", "want"),
    [
        (float, tensor_pb2.DT_FLOAT),
        (int, tensor_pb2.DT_INT32),
        (bool, tensor_pb2.DT_BOOL),
        (complex, tensor_pb2.DT_COMPLEX128),
        (str, tensor_pb2.DT_STRING),
        (bytes, tensor_pb2.DT_STRING),
        (object, tensor_pb2.DT_STRING),
        ("S5", tensor_pb2.DT_STRING),
        (np.dtype("U2"), tensor_pb2.DT_STRING),
        (np.float16, tensor_pb2.DT_HALF),
        ("half", tensor_pb2.DT_HALF),
        (">f4", tensor_pb2.DT_FLOAT),
        (ml_dtypes.bfloat16, tensor_pb2.DT_BFLOAT16),
        (np.dtype(ml_dtypes.float4_e2m1fn), tensor_pb2.DT_FLOAT4_E2M1FN),
        (np.int64(tensor_pb2.DT_INT8), tensor_pb2.DT_INT8),
    ],
)
def test_other_spellings(given, want):
    assert dtypes.datatype_of(given) == want


def test_sizes_of_small_and_variable_types():
    assert dtypes.element_size(tensor_pb2.DT_INT4) == 1
    assert dtypes.element_size(tensor_pb2.DT_UINT2) == 1
    assert dtypes.element_size(tensor_pb2.DT_BFLOAT16) == 2
    assert dtypes.element_size(tensor_pb2.DT_COMPLEX128_REF) == 16
    assert dtypes.element_size(tensor_pb2.DT_STRING) is None
    assert dtypes.element_size(tensor_pb2.DT_VARIANT) is None


@pytest.mark.parametrize(
    "given", [0, -1, 34, 100, 134, 1000, "float33", "DT_INVALID", None, True, "M8[s]", [1], "f4,f4"]
)
def test_unknown_types_are_refused(given):
    with pytest.raises(InvalidArgumentError, match="dtype"):
        dtypes.datatype_of(given)


@pytest.mark.parametrize("number", [0, 34, 100, 134])
def test_unknown_numbers_are_refused_everywhere(number):
    for function in (dtypes.numpy_dtype, dtypes.name_of, dtypes.is_ref, dtypes.base_datatype, dtypes.element_size):
        with pytest.raises(InvalidArgumentError, match=f"unknown dtype number: got {number}"):
            function(number)


@pytest.mark.parametrize("number", [tensor_pb2.DT_RESOURCE, tensor_pb2.DT_VARIANT, tensor_pb2.DT_VARIANT_REF])
def test_handles_have_no_numpy_form(number):
    with pytest.raises(InvalidArgumentError, match="has no numpy form"):
        dtypes.numpy_dtype(number)
