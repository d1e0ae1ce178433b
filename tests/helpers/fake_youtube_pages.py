"""What the fake YouTube says of its videos and lists: player answers and pages, and their faults."""

import json
from dataclasses import dataclass

MEDIA_HOST = "rr1---sn-fake.googlevideo.com"
LICENCE = "Creative Commons Attribution license (reuse allowed)"

FORMATS = (
    # itag, type, height, fps, bitrate
    (18, 'video/mp4; codecs="avc1.42001E, mp4a.40.2"', 360, 30, 400_000),
    (137, 'video/mp4; codecs="avc1.640028"', 1080, 30, 4_000_000),
    (136, 'video/mp4; codecs="avc1.4d401f"', 720, 30, 1_500_000),
    (247, 'video/webm; codecs="vp9"', 720, 30, 1_200_000),
    (398, 'video/mp4; codecs="av01.0.05M.08"', 720, 30, 1_000_000),
    (135, 'video/mp4; codecs="avc1.4d401e"', 480, 30, 800_000),
    (140, 'audio/mp4; codecs="mp4a.40.2"', None, None, 128_000),
)
PROGRESSIVE = 18

PLAYER_JS = """var _yt_player={};(function(g){signatureTimestamp:20000;
var Bpa=[nn];
nn=function(a){var b=a.split(""),c=[0];try{c[0](c[0])}catch(d){}return b.join("")};
a.B&&(b=a.get("n"))&&(b=Bpa[0](b),a.set("n",b));
c&&d.set(x,encodeURIComponent(sg(e)));
sg=function(a){a=a.split("");DE.AJ(a,1);return a.join("")};
var DE={AJ:function(a,b){a.reverse()}};
})(_yt_player);"""
"""The least of a player in which pytube 15 finds its functions."""


@dataclass
class Video:
    """A video of the fake, and what is wrong with it.

    Attributes:
        id: eleven letters, digits, ``_`` or ``-``.
        body: of every format.
        status, reason: of ``playabilityStatus``.
        player_http: status of the answers of ``youtubei/v1/player``.
        flagged: so many of the first answers of the player are 429.
        garbage: the player answers with an HTML page.
        media: ``whole``, ``missing`` (404), ``refused`` (429), ``private`` (a redirect to 10.0.0.1),
            ``cut`` (half of every answer), ``empty`` (no byte of any) or ``slow`` (one byte a second).
        itags: of the formats it has.
    """

    id: str
    body: bytes = b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 400
    title: str = "A person, walking"
    author: str = "Walkers"
    handle: str = "@walkers"
    channel_id: str = "UCabcdefghijklmnopqrstuv"
    seconds: int = 12
    published: str = "2026-03-04T05:06:07-07:00"
    licence: str = ""
    status: str = "OK"
    reason: str = ""
    player_http: int = 200
    flagged: int = 0
    garbage: bool = False
    media: str = "whole"
    itags: tuple[int, ...] = tuple(row[0] for row in FORMATS)

    def player(self) -> dict:
        """The answer of ``youtubei/v1/player``."""
        answer = {
            "responseContext": {"visitorData": "CgtmYWtlZmFrZWZhaw%3D%3D"},
            "playabilityStatus": {"status": self.status, **({"reason": self.reason} if self.reason else {})},
            "playerConfig": {
                "mediaCommonConfig": {
                    "mediaUstreamerRequestConfig": {"videoPlaybackUstreamerConfig": "ZmFrZQ=="}
                }
            },
        }
        if self.status != "OK":
            return answer
        rows = [self._format(row) for row in FORMATS if row[0] in self.itags]
        return {
            **answer,
            "videoDetails": {
                "videoId": self.id,
                "title": self.title,
                "author": self.author,
                "channelId": self.channel_id,
                "lengthSeconds": str(self.seconds),
                "shortDescription": "",
                "viewCount": "1",
                "keywords": [],
                "isLiveContent": False,
            },
            "streamingData": {
                "expiresInSeconds": "21540",
                "formats": [row for row in rows if row["itag"] == PROGRESSIVE],
                "adaptiveFormats": [row for row in rows if row["itag"] != PROGRESSIVE],
            },
            "microformat": {
                "playerMicroformatRenderer": {
                    "publishDate": self.published,
                    "uploadDate": self.published,
                    "ownerProfileUrl": f"http://www.youtube.com/{self.handle}",
                    "ownerChannelName": self.author,
                    "externalChannelId": self.channel_id,
                }
            },
        }

    def _format(self, row) -> dict:
        itag, kind, height, fps, bitrate = row
        picture = {"width": height * 16 // 9, "height": height, "fps": fps} if height else {}
        return {
            "itag": itag,
            "url": f"https://{MEDIA_HOST}/videoplayback?id={self.id}&itag={itag}&sig=fake",
            "mimeType": kind,
            "bitrate": bitrate,
            **picture,
            "lastModified": "1700000000000000",
            "contentLength": str(len(self.body)),
            "quality": "hd720",
            "approxDurationMs": str(self.seconds * 1000),
        }

    def watch_page(self) -> str:
        """The HTML of ``/watch``."""
        row = {"title": {"simpleText": "License"}, "contents": [{"runs": [{"text": self.licence}]}]}
        rows = [{"metadataRowRenderer": row}] if self.licence else []
        second = {
            "videoSecondaryInfoRenderer": {
                "owner": {"videoOwnerRenderer": {"title": {"runs": [{"text": self.author}]}}},
                "metadataRowContainer": {"metadataRowContainerRenderer": {"rows": rows}},
            }
        }
        first = {"videoPrimaryInfoRenderer": {"title": {"runs": [{"text": self.title}]}}}
        contents = {
            "twoColumnWatchNextResults": {"results": {"results": {"contents": [first, second]}}},
        }
        date = f'<meta itemprop="datePublished" content="{self.published}">'
        return page(
            {"contents": contents}, f"var ytInitialPlayerResponse = {json.dumps(self.player())};", date
        )


def page(initial: dict, script: str = "", head: str = "") -> str:
    """A page as YouTube's are: its data in scripts."""
    config = {
        "INNERTUBE_API_KEY": "fake",
        "INNERTUBE_CONTEXT": {"client": {"clientName": "WEB", "clientVersion": "2.20261101.00.00"}},
        "VISITOR_DATA": "CgtmYWtlZmFrZWZhaw%3D%3D",
        "jsUrl": "/s/player/fa1c2b3d/player_ias.vflset/en_US/base.js",
        "PLAYER_JS_URL": "/s/player/fa1c2b3d/player_ias.vflset/en_US/base.js",
    }
    return (
        f"<!DOCTYPE html><html><head>{head}<script>ytcfg.set({json.dumps(config)});</script></head><body>"
        f"<script>var ytInitialData = {json.dumps(initial)};</script><script>{script}</script></body></html>"
    )


def playlist_page(title: str, ids: list[str]) -> str:
    """The HTML of ``/playlist``: all videos on one page."""
    items = [{"playlistVideoRenderer": {"videoId": name}} for name in ids]
    section = {"itemSectionRenderer": {"contents": [{"playlistVideoListRenderer": {"contents": items}}]}}
    tab = {"tabRenderer": {"selected": True, "content": {"sectionListRenderer": {"contents": [section]}}}}
    side = {"playlistSidebarPrimaryInfoRenderer": {"title": {"runs": [{"text": title}]}}}
    return page(
        {
            "contents": {"twoColumnBrowseResultsRenderer": {"tabs": [tab]}},
            "sidebar": {"playlistSidebarRenderer": {"items": [side]}},
            "metadata": {"playlistMetadataRenderer": {"title": title}},
        }
    )
