import numpy as np
import pytest

from mexport_pb import dtypes
from mexport_pb._proto import tensor_pb2

tf = pytest.importorskip("tensorflow")
pytestmark = pytest.mark.tensorflow


@pytest.mark.parametrize("number", [n for n in tensor_pb2.DataType.values() if n > 0])
def test_names_and_numpy_types_are_tensorflows(number):
    theirs = tf.dtypes.as_dtype(number)
    assert dtypes.datatype_of(theirs) == number
    assert dtypes.name_of(number) == theirs.name
    if number % 100 not in (tensor_pb2.DT_RESOURCE, tensor_pb2.DT_VARIANT):
        assert dtypes.numpy_dtype(number) == np.dtype(theirs.as_numpy_dtype)


@pytest.mark.parametrize("given", [float, bool, object, np.float32, np.uint16, "half", "double"])
def test_spellings_mean_what_they_mean_to_tensorflow(given):
    assert dtypes.datatype_of(given) == tf.dtypes.as_dtype(given).as_datatype_enum


@pytest.mark.parametrize("value", [1.5, 1, True, 1j, "a", b"a"])
def test_python_types_are_those_of_constants(value):
    assert dtypes.datatype_of(type(value)) == tf.constant(value).dtype.as_datatype_enum
