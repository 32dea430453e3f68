"""The INT8 trunk for processors that multiply INT8 and not BF16, and the gate it has to pass.

How a linear layer is computed: the activations of each token are scaled to 8 bits by their own
range, the weights are 8-bit with a scale for each output, and the product is exact in 32-bit
integers. So a token's value never depends on what else is in the batch.

What keeps it accurate:

* ``quantized_linear.py``  inputs are divided by factors that make outliers smaller and their
  weights larger (SmoothQuant); the few inputs that still stand out are multiplied in FP32
  (LLM.int8); what rounding does to the mean of the outputs is taken out of the bias
* ``calibration.py``       the means and ranges that this needs, from ``calibration_texts.py``
* ``sensitivity.py``       how much each layer's rounding disturbs the outputs
* ``quantize.py``          where all layers in INT8 disturb them too much, the worst stay in FP32
* ``gate.py``              the comparison with the checkpoint, in the engine that will serve; an
  INT8 trunk that does not pass is never published, and one that did not pass is never loaded

``graph.py`` writes ``model.int8.onnx``: ``model.onnx`` with the chosen layers replaced. All other
weights stay in ``model.onnx.data``, which both graphs read.
"""
