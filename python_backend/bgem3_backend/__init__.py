"""What the Python models of the Triton repository do, and the tensor contract they keep."""
