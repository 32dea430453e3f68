"""TensorRT: which batches an engine takes, and how a plan for the GPU of this machine is built."""
