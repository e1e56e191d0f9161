import io

import numpy as np

from bench.engines.null_node import describe
from bench.flower_app.null_app.model import change_file, make_arrays, step_of
from server.layout import Layout


def test_a_changed_file_differs_in_its_first_value_alone() -> None:
    values = make_arrays("small")[0]
    file = io.BytesIO()
    np.save(file, values)
    changed = np.load(io.BytesIO(change_file(file.getvalue(), 3)))
    expected = values.copy()
    expected.flat[0] += np.float32(step_of(3))
    np.testing.assert_array_equal(changed, expected)


def test_neighbours_change_the_same_value_differently() -> None:
    assert step_of(0) != step_of(1)


def test_a_node_of_the_link_describes_a_model_of_the_project() -> None:
    layout = Layout.from_description(describe("small"))
    assert layout.size == 4 * 218_058
