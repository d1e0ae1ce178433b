"""A yt-dlp plugin that takes YouTube's links to ``FakeSite`` on 127.0.0.1; it does what the page there says.

The address comes from ``fake_site.json`` in a folder of ``sys.path``, because no variable of ours reaches
the process that yt-dlp runs in.
"""

import json
import sys
from pathlib import Path

from yt_dlp.extractor.common import InfoExtractor
from yt_dlp.utils import ExtractorError, GeoRestrictedError, RegexNotFoundError

FAULTS = {"ExtractorError": ExtractorError, "RegexNotFoundError": RegexNotFoundError, "TypeError": TypeError}


def _base():
    for folder in map(Path, sys.path):
        if (folder / "fake_site.json").is_file():
            return json.loads((folder / "fake_site.json").read_text())["base"]
    raise AssertionError("no fake_site.json on sys.path: use FakeSite.pythonpath()")


class FakeYoutubeIE(InfoExtractor):
    _VALID_URL = r"https?://www\.youtube\.com/(?P<kind>watch\?v=|playlist\?list=|@)(?P<id>[A-Za-z0-9_/-]+)"

    def _real_extract(self, url):
        kind, name = self._match_valid_url(url).group("kind", "id")
        folder = {"watch?v=": "page", "playlist?list=": "list", "@": "channel"}[kind]
        page = self._download_json(f"{_base()}/{folder}/{name}", name)
        if page.get("raise") == "GeoRestrictedError":
            raise GeoRestrictedError(page["text"])
        if "raise" in page:
            kind = FAULTS[page["raise"]]
            raise (
                kind(page["text"], expected=page["expected"]) if kind is not TypeError else kind(page["text"])
            )
        if "entries" in page:
            entries = (self.url_result(link) for link in page["entries"])
            return self.playlist_result(entries, name, page["title"])
        return {"extractor_key": "Youtube", "extractor": "youtube", "id": name, **page["info"]}
