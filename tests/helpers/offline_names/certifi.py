"""Stands in for the package of the same name: yt-dlp believes its authorities before SSL_CERT_FILE's."""

import os


def where() -> str:
    """The file of the authority that signed the fake sites."""
    return os.environ["SSL_CERT_FILE"]
