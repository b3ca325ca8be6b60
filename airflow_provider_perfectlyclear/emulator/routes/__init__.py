"""The emulator's HTTP endpoints: the API, the storage, and the control plane."""
