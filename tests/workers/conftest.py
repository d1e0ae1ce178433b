"""Fixtures of several files."""

from pyopenpose_models import notes as notes
from pyopenpose_models import open_model as open_model
