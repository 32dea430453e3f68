"""The Python models as Triton sees them: each folder's ``model.py`` imports one class from here.

Only this sub-package knows ``triton_python_backend_utils``, which exists inside Triton's model
processes alone.
"""
