"""Run directories, and record folders of external models."""

from condgen.runs.folders import RecordFolder, Restored
from condgen.runs.opening import is_folder, open_folder
from condgen.runs.pages import installed_versions
from condgen.runs.run import Run

__all__ = ["RecordFolder", "Restored", "Run", "installed_versions", "is_folder", "open_folder"]
