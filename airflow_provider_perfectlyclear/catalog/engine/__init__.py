"""The part of a run that talks to the service: uploads, paid starts, status checks, downloads."""
