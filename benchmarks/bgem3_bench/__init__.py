"""Measurements that a user can run: the service beside its peers, and perf_analyzer."""
