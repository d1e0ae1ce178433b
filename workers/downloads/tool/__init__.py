"""The process in which a downloader of sites runs: both ends of its pipe, and what it may not do."""
