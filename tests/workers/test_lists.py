"""Lists of links in every form that people keep them in, and every way in which they can be wrong."""

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.downloads import lists
from workers.downloads.links import expand_links
from workers.downloads.lists import BadLinkList, read_links

A, B = "https://youtu.be/aaaaaaaaaaa", "https://example.org/b,c.mp4"


def written(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("l.txt", f"{A}\n{B}\n"),  # a link a line
        ("l.txt", f"\ufeff{A}\r\n\r\n# mine\r\n  {B}  "),  # as an editor on Windows writes it, with comments
        ("l.csv", f'title,url\n"Jump, twice",{A}\nnone,\n,"{B}"\n'),  # a column of that name; an empty cell
        ("l.csv", f'\ufeffLink;n,URL\n1,{A}\n2,"{B}"\n'),  # a byte order mark before the header
        ("l.tsv", f"id\tvideo\n1\t{A}\n2\t{B}\n"),  # tabs
        ("l.jsonl", f'"{A}"\n\n"{B}"\n'),  # strings
        ("l.ndjson", json.dumps({"id": 1, "url": A}) + "\n" + json.dumps({"link": B})),  # objects
        ("l", f"{A}\n{B}"),  # no suffix: text
        ("l", f'id,link\n1,{A}\n2,"{B}"'),  # no suffix: the header says CSV
        ("l", f"link\tid\n{A}\t1\n{B}\t2"),  # no suffix: tabs
        ("l", f'url\n{A}\n"{B}"'),  # no suffix: a header of one column
        ("l", f'{{"url": "{A}"}}\n{{"url": "{B}"}}'),  # no suffix: JSON objects
        ("l.data", f'"{A}"\n"{B}"'),  # a suffix that says nothing: JSON strings
    ],
)
def test_every_kind_of_list_gives_its_links(name: str, text: str, tmp_path: Path) -> None:
    assert read_links(written(tmp_path, name, text)) == [A, B]


def test_a_named_column_is_taken(tmp_path: Path) -> None:
    path = written(tmp_path, "l.csv", f"url,mirror\nhttps://other.example,{A}\n")
    assert read_links(path, "Mirror") == [A]
    objects = written(tmp_path, "l", json.dumps({"url": "https://other.example", "mirror": A}))
    assert read_links(objects, "mirror") == [A]


def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(f"{A}\n{B}".encode())))
    assert read_links("-") == [A, B]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "l.csv",
            "id,title\n1,x\n",
            "line 1: no column with a name such as url or link; there are: 'id', 'title'",
        ),
        ("l.csv", "url,link\na,b\n", "several columns may hold the links: 'url', 'link'"),  # which one?
        ("l.csv", f'url\n{A}\n"{B}\n', "line 3: no CSV"),  # a quotation mark that is never closed
        ("l.jsonl", f'"{A}"\n{{"url": \n', "line 2: no JSON"),  # cut off
        ("l.jsonl", f'"{A}"\n7\n', "line 2: a int where a link should be"),  # a number
        ("l.jsonl", '{"url": null}\n', "line 1: a NoneType where"),  # an object without its link
        ("l.jsonl", "[" * 5000 + "\n", "line 1: no JSON"),  # made to break a parser
        ("l.txt", f"{A}\nh\xe4\n".encode("latin-1"), "line 2: not UTF-8 (byte 2"),  # another encoding
        ("l.txt", f"{A}\n".encode("utf-16"), "line 1: not UTF-8"),  # another one
        ("l.txt", f"{A}\n{'x' * 20_000}\n", "line 2: longer than"),  # no list at all
        ("l.txt", "ä" * 90_000, "line 1: longer than"),  # cut within a character by the bound
        ("l.txt", b"\0\0\0\x18ftypmp42\n", "line 1: not text"),  # a video given as a list
        ("l.txt", "", "has no link in it"),  # empty
        ("l.txt", "# none yet\n\n", "has no link in it"),  # comments only
        ("l.csv", "url\n", "has no link in it"),  # a header only
    ],
)
def test_what_is_wrong_is_said_with_the_line(
    name: str, text: str | bytes, message: str, tmp_path: Path
) -> None:
    with pytest.raises(BadLinkList) as caught:
        read_links(written(tmp_path, name, text))
    assert message in caught.value.cause
    assert caught.value.remedy


def test_a_column_that_is_not_there_is_answered_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(BadLinkList, match=r"no column 'links'; there are: 'id', 'url'"):
        read_links(written(tmp_path, "l.csv", f"id,url\n1,{A}\n"), "links")


def test_a_list_that_is_not_there_or_a_folder_is_typed(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.txt"):
        with pytest.raises(BadLinkList, match="cannot be read"):
            read_links(path)


@pytest.mark.parametrize("name", ["l.csv", "l.jsonl"])
def test_no_error_tells_a_password(name: str, tmp_path: Path) -> None:
    line = "https://ann:sesame@example.org/a,https://ann:sesame@example.org/b\n"
    with pytest.raises(BadLinkList) as caught:
        read_links(written(tmp_path, name, line * 2))
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    ("bound", "value"),
    [
        ("MAX_LINKS", 2),  # too many of them
        ("MAX_BYTES", 50),  # or an input without end
    ],
)
def test_a_list_is_bounded(bound: str, value: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, bound, value)
    assert read_links(written(tmp_path, "l.txt", "a\nb\n")) == ["a", "b"]
    with pytest.raises(BadLinkList, match="more than"):
        read_links(written(tmp_path, "l.txt", f"{A}\n" * 3))


links = st.lists(
    st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=30).map(
        "https://a.org/".__add__
    ),
    min_size=1,
    max_size=20,
)


@given(links, st.sampled_from([".txt", ".csv", ".jsonl", ""]))
def test_what_is_written_is_read(found: list[str], suffix: str) -> None:
    import csv
    import tempfile

    text = io.StringIO()
    if suffix == ".csv":
        csv.writer(text).writerows([["n", "url"], *([n, link] for n, link in enumerate(found))])
    elif suffix == ".jsonl":
        text.write("\n".join(map(json.dumps, found)))
    else:
        text.write("\n".join(found))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"list{suffix}"
        path.write_text(text.getvalue(), encoding="utf-8", newline="")
        assert read_links(path) == found


WATCH = "https://www.youtube.com/watch?v=dQw4w9WgXcQ"


@pytest.mark.parametrize(
    "link",
    [
        "https://youtu.be/dQw4w9WgXcQ?si=who",  # the short form, with who shared it
        "http://m.youtube.com/watch?feature=a&v=dQw4w9WgXcQ&list=PL1",  # out of a playlist
        "youtube.com/watch?v=dQw4w9WgXcQ",  # as pasted from an address bar
        "www.YouTube.com/shorts/dQw4w9WgXcQ",  # upright
        "youtu.be/dQw4w9WgXcQ",  # both
    ],
)
def test_a_video_of_youtube_is_one_link_however_it_is_written(link: str) -> None:
    assert expand_links([link, WATCH]) == [WATCH]


@pytest.mark.parametrize(
    "link",
    [
        "https://www.youtube.com/playlist?list=PL1",  # a list is no video
        "https://www.youtube.com/@ann/videos",  # a channel neither
        "https://example.org/watch?v=dQw4w9WgXcQ",  # another site
        "example.org/a.mp4",  # a path as far as we know
        "a" * 5000,  # no file can have that name
    ],
)
def test_other_links_stay_as_they_are(link: str) -> None:
    assert expand_links([link]) == [link]


def test_a_file_of_that_name_is_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "youtu.be").mkdir()
    (tmp_path / "youtu.be" / "dQw4w9WgXcQ").write_bytes(b"x")
    assert expand_links(["youtu.be/dQw4w9WgXcQ"]) == [str(tmp_path / "youtu.be" / "dQw4w9WgXcQ")]
