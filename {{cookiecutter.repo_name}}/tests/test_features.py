import numpy as np

from {{ cookiecutter.src_package_name }}.features import tensors
from {{ cookiecutter.src_package_name }}.schema import EXAMPLE, FEATURES


def test_a_missing_value_is_nan_or_empty_text() -> None:
    inputs = tensors({name: [EXAMPLE[name], None] for name in FEATURES})
    for name, kind in FEATURES.items():
        assert inputs[name].shape == (2, 1)
        if kind == "number":
            assert inputs[name].dtype == np.float32
            assert np.isnan(inputs[name][1, 0])
        else:
            assert inputs[name][:, 0].tolist() == [str(EXAMPLE[name]), ""]


def test_no_rows_are_no_rows() -> None:
    assert all(array.shape == (0, 1) for array in tensors({name: [] for name in FEATURES}).values())
