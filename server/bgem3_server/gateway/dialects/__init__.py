"""What callers speak: each dialect has its routes, its schemas and its shape of errors."""
