"""Where a Dag says that pictures lie."""

from __future__ import annotations

import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_provider_perfectlyclear.adapters.object_storage import (
    Place,
    names_below,
    open_file,
    open_folder,
    open_state,
    parse_place,
)
from airflow_provider_perfectlyclear.errors import ConfigurationError


@pytest.mark.parametrize(
    ("value", "conn_id", "place"),
    [
        ("/data/in", None, Place("file", "/data/in")),
        (" /data/ü #1 %?.d/ ", None, Place("file", "/data/ü #1 %?.d/")),
        ("file:///data/in", None, Place("file", "/data/in")),
        (ObjectStoragePath("file:///data/a b#1"), None, Place("file", "/data/a b#1")),
        ("s3://bucket/a/b?#.jpg", None, Place("s3", "bucket/a/b?#.jpg")),
        ("S3://aws@bucket/a", None, Place("s3", "bucket/a", "aws")),
        ("s3://aws@bucket/a@b", "mine", Place("s3", "bucket/a@b", "mine")),
        ("gs://bucket", "google", Place("gs", "bucket", "google")),
        (ObjectStoragePath("memory://store@bucket/a"), None, Place("memory", "/bucket/a", "store")),
    ],
)
def test_a_place_is_taken_apart_to_the_letter(value, conn_id, place):
    assert parse_place(value, conn_id=conn_id) == place


@pytest.mark.parametrize("value", ["", None, "in", "./in", "~/in", "file://in", "s3://", "s3://aws@"])
def test_what_is_no_place_is_refused_by_the_argument_that_said_it(value):
    with pytest.raises(ConfigurationError, match="source"):
        parse_place(value, argument="source")


def test_a_store_lists_what_others_have_just_written():
    store, other = open_folder("memory://fresh/a"), open_folder("memory://fresh/a")
    assert list(store.list()) == []
    other.write("new.jpg", b"1")
    assert [entry.name for entry in store.list()] == ["new.jpg"]
    assert store.fs.dircache.use_listings_cache is False


def test_a_file_is_opened_by_its_folder(tmp_path):
    store, name = open_file(f"{tmp_path}/b/ü #1 %.jpg")
    assert (store.root, name) == (f"{tmp_path}/b", "ü #1 %.jpg")
    with pytest.raises(ConfigurationError, match="name a file"):
        open_file(f"{tmp_path}/")


def test_files_are_named_below_their_root():
    files = ["s3://aws@media/in/a.jpg", "s3://media/in/b/c.jpg", "d.jpg"]
    assert names_below("s3://media/in/", files) == ["a.jpg", "b/c.jpg", "d.jpg"]
    with pytest.raises(ConfigurationError, match="does not lie in source_root"):
        names_below("s3://media/in", ["s3://media/input/a.jpg"])


def test_the_record_lies_in_the_destination_unless_told_otherwise(tmp_path):
    destination = open_folder(str(tmp_path / "out"))
    assert open_state(None, destination).root == f"{tmp_path}/out/.perfectlyclear"
    assert open_state(f"{tmp_path}/state", destination).root == f"{tmp_path}/state"
    with pytest.raises(ConfigurationError, match="state_path"):
        open_state(None, None)


def test_a_misspelt_connection_is_never_replaced_by_the_credentials_of_the_machine(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-the-machine")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-the-machine")
    with pytest.raises(ConfigurationError, match="Connection 'misspelt' of s3://media is not defined"):
        open_folder("s3://misspelt@media/in")
    monkeypatch.setenv("AIRFLOW_CONN_MISSPELT", "aws://")
    assert open_folder("s3://misspelt@media/in").uri("") == "s3://media/in"
    assert open_folder("s3://aws_default@media/in").uri("") == "s3://media/in"
