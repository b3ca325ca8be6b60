"""
The Perfectly Clear Web API v2 on loopback, to try, test and rehearse against.

It needs no key and costs nothing. It is a stand-in: it answers as the service's reference says, on real sockets, with
jobs, signed URLs, refusals and a bill; but its pictures are corrected by a few Pillow operations, not by EyeQ, and
videos come back as they were.

Start it with ``python -m airflow_provider_perfectlyclear.emulator`` (``--help`` has the options), or from
tests with :mod:`airflow_provider_perfectlyclear.emulator.testing`. How to make it fail on purpose:
:mod:`airflow_provider_perfectlyclear.emulator.faults`.

It needs ``starlette``, ``uvicorn`` and ``pillow``; ``psutil`` only for the fault that kills its client. It
imports nothing else of this package: shared models would let one misreading of the service pass on both
sides.

Choices where the reference is silent:

* A refused ``/pfc`` is 400, or 404 for an unknown ``fileKey``, or 409 for one that nothing was uploaded to.
* A preset is listed, downloadable and usable by its name once its file is there. Before that it can only be
  deleted. Two presets may have the same name; the newer one is used. Built-in presets are usable and not
  listed.
* FAILED and REJECTED answer 200, and are billed like any other job, as are all accepted calls but free
  cache hits.
* Enlarging counts as ``imageResizeCount``, shrinking as ``classicResizeCount``.
* ``autocrop`` reports its frame as ``autocrop: {left, top, width, height}`` in the status.
* EXIF is kept byte for byte where the source has it as such (JPEG, PNG, WebP); TIFF tags are not kept.
* HEIC and other pictures that Pillow cannot decode come back as they were if nothing but a correction was
  asked; with a resize, a crop, a removed background or another output type they are FAILED.
"""
