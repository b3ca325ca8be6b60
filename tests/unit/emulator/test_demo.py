"""What ``make demo`` keeps for its next run. The whole demo takes minutes; tests/airflow runs the same Dag."""

from __future__ import annotations

import socket

import pytest

from demo.run import emulator_of


def test_the_second_demo_finds_its_service_where_the_first_one_had_it(tmp_path):
    with emulator_of(tmp_path) as first:
        pass
    with emulator_of(tmp_path) as second:
        assert second.base_url == first.base_url


def test_a_demo_whose_port_is_taken_says_so(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        (tmp_path / "port").write_text(str(port))
        with pytest.raises(SystemExit, match=f"Port {port} of the emulator is in use"), emulator_of(tmp_path):
            pass
