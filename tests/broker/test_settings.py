from pathlib import Path

import pytest

from broker.errors import SettingsError
from broker.settings import Settings, load_settings

PASSWORD = "s3cret-pass"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without a hardpose.toml, and an environment without our variables."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(f"HARDPOSE_{name.upper()}", raising=False)
    monkeypatch.delenv("HARDPOSE_CONFIG", raising=False)  # the file of the folder is what is tested
    return tmp_path


def test_the_command_line_beats_the_environment_beats_the_file(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (elsewhere / "hardpose.toml").write_text(
        "threads = 2\nmax_attempts = 7\n[sampling]\nkeeps_per_second = 1.0\n"
    )
    monkeypatch.setenv("HARDPOSE_THREADS", "3")
    settings = load_settings(threads=4)
    assert (settings.threads, settings.max_attempts, settings.sampling.keeps_per_second) == (4, 7, 1.0)
    assert load_settings().threads == 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HARDPOSE_THREADS", "0"),  # below the least value
        ("HARDPOSE_COMPARISON__IOU_THRESHOLD", "1.5"),  # a nested one, above the largest
        ("HARDPOSE_LOG_LEVEL", "LOUD"),  # not a choice
    ],
)
def test_a_wrong_value_is_refused_by_name(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=name):
        load_settings()


def test_a_misspelt_key_in_the_file_is_refused(elsewhere: Path) -> None:
    (elsewhere / "hardpose.toml").write_text("treads = 2\n")
    with pytest.raises(SettingsError, match="TREADS"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HARDPOSE_COMPUTE__PROVIDERS", "cuda"),  # a list of one, as everybody writes it first
        ("HARDPOSE_POSE_OPTIONS", "precision=fp16"),
        ("HARDPOSE_ALLOW_NETWORKS", "['10.0.0.0/8']"),  # Python's quotes
    ],
)
def test_what_is_not_json_is_refused_with_an_example(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=name.removeprefix("HARDPOSE_").split("__")[0].lower()) as caught:
        load_settings()
    assert "HARDPOSE_COMPUTE__PROVIDERS='[\"cuda\"]'" in caught.value.remedy


@pytest.mark.parametrize("data", [b"[compute\n", b"home = '\xff'\n"])
def test_a_file_that_is_no_toml_is_named(data: bytes, elsewhere: Path) -> None:
    (elsewhere / "hardpose.toml").write_bytes(data)
    with pytest.raises(SettingsError, match=r"hardpose\.toml is not TOML"):
        load_settings()


def test_a_child_process_gets_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    given = load_settings(
        home="here",
        broker_url=f"redis://:{PASSWORD}@h/0",
        sampling={"keeps_per_second": 5},
        allow_networks=["10.0.0.0/8"],
    )
    for name, value in given.environment().items():
        monkeypatch.setenv(name, value)
    again = load_settings()
    assert again.home == given.home.absolute()
    assert again.broker_url == given.broker_url
    assert again.sampling == given.sampling
    assert again.allow_networks == ("10.0.0.0/8",)


def test_secrets_do_not_show() -> None:
    settings = load_settings(
        broker_url=f"redis://:{PASSWORD}@h/0", catalog_url=f"postgresql+psycopg://u:{PASSWORD}@h/d"
    )
    assert PASSWORD not in repr(settings)
    assert PASSWORD not in settings.model_dump_json()
