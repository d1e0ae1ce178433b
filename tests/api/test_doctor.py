import importlib.util
from datetime import date, timedelta
from importlib.metadata import version
from pathlib import Path

import pytest

from api import doctor, doctor_sites
from api.doctor import diagnose, print_findings
from api.doctor_sites import OLD_DAYS, site_findings
from api.findings import Finding
from broker.settings import Settings, load_settings


def test_a_whole_installation_is_well(settings: Settings) -> None:
    findings = diagnose(settings)
    assert {f.what for f in findings} >= {"python", "broker", "catalog", "models", "av"}
    assert [f for f in findings if not (f.ok or f.optional)] == []


def test_a_missing_package_is_named_with_the_extra_that_brings_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None if name == "av" else find(name))
    print_findings(diagnose(settings), as_json=False)
    printed = capsys.readouterr().out
    assert "MISSING av" in printed
    assert "pip install 'hardpose[vision]'" in printed


def test_a_broker_that_does_not_answer_is_named(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, broker_url="redis://:secret-word@127.0.0.1:1/0")
    (finding,) = [f for f in diagnose(settings) if f.what == "broker"]
    assert not finding.ok
    assert "HARDPOSE_BROKER_URL" in finding.remedy
    assert "secret-word" not in finding.detail + finding.remedy


def test_a_disk_without_room_is_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "FREE_BYTES", 10**18)
    findings = [f for f in diagnose(settings) if f.what.startswith("space")]
    assert len(findings) == 2
    assert not any(f.ok for f in findings)


def found(settings: Settings) -> dict[str, Finding]:
    return {finding.what: finding for finding in site_findings(settings)}


def test_the_downloaders_are_named_with_their_versions(settings: Settings) -> None:
    rows = found(settings)
    for name in ("yt-dlp", "yt-dlp-ejs", "pytubefix"):
        assert version(name) in rows[name].detail
    assert rows["JavaScript runtime"].ok
    assert rows["JavaScript runtime"].detail == f"deno {version('deno')}"


@pytest.mark.parametrize(
    ("days", "mark"),
    [
        (OLD_DAYS, "ok"),  # still young enough
        (OLD_DAYS + 1, "WARNING"),  # the sites have moved on
    ],
)
def test_an_old_downloader_is_a_warning_and_no_failure(days: int, mark: str) -> None:
    year, month, day = map(int, version("yt-dlp").split(".")[:3])
    finding = doctor_sites._ytdlp(date(year, month, day) + timedelta(days=days))
    assert (finding.mark, finding.optional) == (mark, True)
    assert (f"{days} days old" in finding.detail) == (mark == "WARNING")


def test_a_missing_runtime_is_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_sites, "RUNTIMES", ("no-such-runtime",))
    finding = found(settings)["JavaScript runtime"]
    assert (finding.mark, "hardpose[javascript]" in finding.remedy) == ("absent", True)


@pytest.mark.parametrize(
    ("proxy", "egress", "marks"),
    [
        ("http://ann:sesame@proxy.example:3128", "office", {"download proxy": "ok"}),  # as it should be
        (
            "socks5://ann:sesame@proxy.example",
            "default",
            {"download proxy": "ok", "egress name": "WARNING"},
        ),  # two addresses, one rate
        ("ftp://ann:sesame@proxy.example", "office", {"download proxy": "MISSING"}),  # no such proxy
    ],
)
def test_a_proxy_is_looked_at_and_its_password_never_shown(
    proxy: str, egress: str, marks: dict[str, str], tmp_path: Path
) -> None:
    rows = found(load_settings(home=tmp_path, download_proxy=proxy, downloads={"egress": egress}))
    assert {
        name: row.mark for name, row in rows.items() if name in ("download proxy", "egress name")
    } == marks
    assert "sesame" not in str(rows)


@pytest.mark.parametrize(
    ("mode", "mark"),
    [
        (0o600, "ok"),  # for its user alone
        (0o640, "WARNING"),  # for his group too
        (None, "MISSING"),  # no such file
    ],
)
def test_cookies_are_for_their_user_alone(mode: int | None, mark: str, tmp_path: Path) -> None:
    path = tmp_path / "cookies.txt"
    if mode is not None:
        path.write_text("# Netscape HTTP Cookie File\n")
        path.chmod(mode)
    assert found(load_settings(home=tmp_path, download_cookies=path))["cookies"].mark == mark
