import importlib.util
from pathlib import Path

import pytest

from api import doctor
from api.doctor import diagnose, print_findings
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
