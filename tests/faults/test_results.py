"""What comes back is not what was asked for, or far larger than it looks."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any

import pytest
from PIL import Image

from airflow_provider_perfectlyclear.catalog.transfer.landing import FETCHES
from tests.faults.nights import NAMES, came_to, ends_well, lines, night
from tests.faults.table import Row
from tests.support.sandbox import Sandbox, jpeg

#: What a worker may grow by (MB), whatever it is sent. A night of small pictures takes about 7.
LITTLE = 25.0


def picture(form: str, size: tuple[int, int], mode: str = "RGB") -> bytes:
    data = io.BytesIO()
    Image.new(mode, size, 1).save(data, form)
    return data.getvalue()


def sends(data: bytes) -> dict[str, Any]:
    """These bytes instead of the corrected file."""
    return {"body": {"base64": base64.b64encode(data).decode()}}


# ---- bombs


@pytest.mark.parametrize(
    ("route", "bomb", "times"),
    [
        pytest.param(route, bomb, times, marks=pytest.mark.fault("F48", f"{bomb} at {route}", "hidden"))
        for route, bomb, times in (
            ("upload", "gzip_bomb", 2),
            ("upload", "huge", 2),
            ("status", "gzip_bomb", 3),
            ("status", "huge", 3),
            ("download", "gzip_bomb", 2),
        )
    ],
)
def test_an_answer_is_not_unpacked_further_than_it_is_read(
    row: Row, sandbox: Sandbox, route: str, bomb: str, times: int
) -> None:
    sandbox.put(*NAMES)
    sandbox.emulator.fault(route, {"garble": bomb}, times=times)

    said = night(sandbox)

    row.consumed(sandbox.emulator)
    came_to(sandbox, said, row.outcome, NAMES)
    assert said["grew"] < LITTLE
    ends_well(sandbox, row, NAMES)


@pytest.mark.fault("F48", "pixel bomb at the source", "item FAILED")
def test_a_pixel_bomb_at_the_source_is_only_sent(row: Row, sandbox: Sandbox) -> None:
    sandbox.put(*NAMES[1:])
    (sandbox.source / "a.png").write_bytes(picture("PNG", (20_000, 20_000), "1"))

    said = night(sandbox)

    came_to(sandbox, said, row.outcome, NAMES)
    assert "too many pixels" in said["message"]
    assert said["grew"] < LITTLE
    row.consumed("the service has said how large it is")
    ends_well(sandbox, row, NAMES[1:])


@pytest.mark.fault("F48", "pixel bomb as a result", "hidden")
def test_a_pixel_bomb_that_comes_back_is_not_decoded(row: Row, sandbox: Sandbox) -> None:
    sandbox.put("a.png", *NAMES[1:])
    names = ["a.png", *NAMES[1:]]
    bomb = picture(
        "PNG", (9_000, 9_000), "L"
    )  # 80 MB of pixels; a larger one would not be opened by the check
    sandbox.emulator.fault({"route": "download", "contains": ".png"}, sends(bomb))
    (sandbox.source / "a.png").write_bytes(picture("PNG", (64, 48)))
    sandbox.altered = {"a.png"}

    said = night(sandbox)

    row.consumed(sandbox.emulator)
    came_to(sandbox, said, row.outcome, names)
    assert (sandbox.destination / "a.png").read_bytes() == bomb
    assert said["grew"] < LITTLE
    ends_well(sandbox, row, names)


# ---- not as asked for


@dataclass(frozen=True)
class Other:
    """Another result than the one that was asked for, for the first picture."""

    way: str
    correction: dict[str, Any]
    result: bytes
    warning: str
    output: str = "a.jpg"

    def parameter(self, outcome: str) -> Any:
        return pytest.param(
            self, marks=pytest.mark.fault("F56", self.way, outcome), id=self.way.replace(" ", "-")
        )


SMALL_PNG, SMALL_JPEG = picture("PNG", (64, 48)), jpeg(99)
OTHERS = [
    Other("png for jpg", {"output_type": "jpg"}, SMALL_PNG, "jpg was asked for, png came"),
    Other("jpg for png", {"output_type": "png"}, SMALL_JPEG, "png was asked for, jpg came", "a.png"),
    Other(
        "jpg for no background",
        {"remove_background": True},
        SMALL_JPEG,
        "png was asked for, jpg came",
        "a.png",
    ),
]
SIZES = [
    Other("other width", {"width": 32}, SMALL_JPEG, "width 32 was asked for, 64 x 48 came"),
    Other("other long side", {"long": 640}, SMALL_JPEG, "long 640 was asked for, 64 x 48 came"),
    Other("other scale", {"scale": 50}, SMALL_JPEG, "scaled width 32 was asked for, 64 x 48 came"),
]


def wanted(other: Other) -> list[str]:
    return [name.replace(".jpg", other.output[1:]) for name in NAMES]


@pytest.mark.parametrize("other", [other.parameter("item CORRUPT_OUTPUT") for other in (*OTHERS, *SIZES)])
def test_a_result_other_than_asked_for_fails_its_picture_and_is_not_paid_again(
    row: Row, sandbox: Sandbox, other: Other
) -> None:
    sandbox.put(*NAMES)
    sandbox.emulator.fault("download", sends(other.result), times=FETCHES)
    options = {"correction": other.correction, "max_in_flight": 1, "verify": "strict"}

    said = night(sandbox, options=options)

    row.consumed(sandbox.emulator)
    came_to(sandbox, said, row.outcome, wanted(other))
    assert other.warning in said["message"] and not said["retry_helps"]
    assert sandbox.accepted == len(NAMES)
    ends_well(sandbox, row, wanted(other), options=options)


@pytest.mark.parametrize("other", [SIZES[0].parameter("hidden")])
def test_a_result_other_than_asked_for_may_only_be_warned_about(
    row: Row, sandbox: Sandbox, other: Other
) -> None:
    sandbox.put(*NAMES)
    sandbox.emulator.fault("download", sends(other.result))
    sandbox.altered = {"a.jpg"}
    options = {"correction": other.correction, "max_in_flight": 1}

    said = night(sandbox, options=options)

    row.consumed(sandbox.emulator)
    came_to(sandbox, said, row.outcome, NAMES)
    is_warned_of(sandbox, said, {"a.jpg": other.warning})
    ends_well(sandbox, row, NAMES, options=options)


@pytest.mark.fault("F56", "identical to the input", "hidden")
def test_results_identical_to_their_sources_are_counted_and_warned_about(row: Row, sandbox: Sandbox) -> None:
    sandbox.put(*NAMES)
    for nth, name in enumerate(NAMES[:1] + NAMES[2:], 1):
        data = (sandbox.source / name).read_bytes()
        sandbox.emulator.fault({"route": "download", "nth": nth}, sends(data))
        sandbox.altered.add(name)

    said = night(sandbox, options={"max_in_flight": 1})

    row.consumed(sandbox.emulator)
    came_to(sandbox, said, row.outcome, NAMES)
    identical = "the corrected file is identical to the source"
    is_warned_of(sandbox, said, dict.fromkeys(NAMES[:1] + NAMES[2:], identical))
    ends_well(sandbox, row, NAMES)


def is_warned_of(sandbox: Sandbox, said: dict[str, Any], warnings: dict[str, str]) -> None:
    found = {line["output"]: line["warnings"] for line in lines(sandbox) if "warnings" in line}
    assert found == {name: [warning] for name, warning in warnings.items()}
    assert said["summary"]["warnings"] == len(warnings)
    for name, warning in warnings.items():
        assert f"{name}: {warning}" in sandbox.log.read_text()
