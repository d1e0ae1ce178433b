"""An API is found by its home folder while it runs, and not by what a killed one has left."""

from pathlib import Path

from api.http.whereabouts import FILE, announced, running

URL = "http://127.0.0.1:8642"


def test_found_while_it_runs(tmp_path: Path) -> None:
    assert running(tmp_path) is None
    with announced(tmp_path, URL):
        assert running(tmp_path) == URL
        with announced(tmp_path, "http://127.0.0.1:1"):  # a second one on another port
            assert running(tmp_path) == URL
        assert running(tmp_path) == URL
    assert running(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_one_left_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("http://127.0.0.1:9")
    assert running(tmp_path) is None
    with announced(tmp_path, URL):
        assert running(tmp_path) == URL


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with announced(tmp_path / "none", URL):
        assert running(tmp_path / "none") is None
    assert list(tmp_path.iterdir()) == []
