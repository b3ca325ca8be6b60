"""What the emulator emulates, without HTTP: uploads, jobs, presets and the bill."""
