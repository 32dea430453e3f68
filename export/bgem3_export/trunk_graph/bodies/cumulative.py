"""Where each text begins and which position each token has, by running sums."""

from __future__ import annotations

from abc import ABC

import numpy as np
from onnx import TensorProto, helper

from bgem3_backend.contract import INPUT_IDS, LENGTHS
from bgem3_export.trunk_graph.bodies.body import Body


class CumulativeBody(Body, ABC):
    """The layout for engines that sum and scatter integers well, as ONNX Runtime does."""

    def _layout(self) -> None:
        """``starts`` and ``ends`` [N]; ``text_index`` and ``position`` [T]; ``longest``."""
        n = self._nodes
        self._constant("axis_0", np.array([0], np.int64))
        self._constant("axis_1", np.array([1], np.int64))
        self._constant("scalar_0", np.array(0, np.int64))
        self._constant("scalar_1", np.array(1, np.int64))
        self._constant("one", np.array([1], np.int64))

        n("Cast", LENGTHS.name, to=TensorProto.INT64, name="lengths_64")
        n("CumSum", "lengths_64", "scalar_0", name="ends")
        n("Sub", "ends", "lengths_64", name="starts")
        n("Shape", INPUT_IDS.name, name="token_count")
        n("Squeeze", "token_count", "axis_0", name="token_count_scalar")
        n("Range", "scalar_0", "token_count_scalar", "scalar_1", name="token_index")

        # The text of each token: a running count of the starts behind the first one.
        n(
            "ConstantOfShape",
            "token_count",
            value=helper.make_tensor("zero", TensorProto.INT64, [1], [0]),
            name="no_starts",
        )
        self._constant("infinite", np.array([np.iinfo(np.int64).max], np.int64))
        n("Slice", "starts", "one", "infinite", "axis_0", name="later_starts")
        n("Shape", "later_starts", name="later_starts_shape")
        n(
            "ConstantOfShape",
            "later_starts_shape",
            value=helper.make_tensor("one_value", TensorProto.INT64, [1], [1]),
            name="ones",
        )
        n("ScatterElements", "no_starts", "later_starts", "ones", axis=0, name="marks")
        n("CumSum", "marks", "scalar_0", name="text_index")
        n("Gather", "starts", "text_index", name="text_start", axis=0)
        n("Sub", "token_index", "text_start", name="position")

        n("ReduceMax", "lengths_64", keepdims=0, name="longest")
        n("Range", "scalar_0", "longest", "scalar_1", name="columns")
        n("Unsqueeze", "starts", "axis_1", name="starts_column")

    def _position_ids(self) -> str:
        n = self._nodes
        pad = self._config.pad_token_id
        self._constant("pad_id", np.array(pad, np.int32))
        self._constant("pad_position", np.array(pad, np.int64))
        n("Equal", INPUT_IDS.name, "pad_id", name="is_pad")
        n("Not", "is_pad", name="is_real")
        n("Cast", "is_real", to=TensorProto.INT64, name="real")
        n("CumSum", "real", "scalar_0", name="real_so_far")
        n("Sub", "real_so_far", "real", name="real_before")
        n("Gather", "real_before", "starts", axis=0, name="real_before_text")
        n("Gather", "real_before_text", "text_index", axis=0, name="real_before_own_text")
        n("Sub", "real_so_far", "real_before_own_text", name="real_in_text")
        n("Mul", "real_in_text", "real", name="counted")
        return n("Add", "counted", "pad_position", name="position_ids")
