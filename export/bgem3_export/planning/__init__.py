"""What a model needs of memory, and the settings that follow."""
