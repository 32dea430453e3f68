"""Where passages and their vectors are kept, behind one interface."""
