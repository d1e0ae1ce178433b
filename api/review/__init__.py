"""The review page: static files that the API serves below ``/review``. No build step, no foreign asset."""
