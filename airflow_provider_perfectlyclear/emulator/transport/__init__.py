"""The emulator's sockets, answers, signatures and request log."""
