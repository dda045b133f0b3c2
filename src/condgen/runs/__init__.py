"""Run directories, and record folders of external models."""

from condgen.runs.folders import RecordFolder, Restored, Run, is_folder, open_folder
from condgen.runs.pages import installed_versions

__all__ = ["RecordFolder", "Restored", "Run", "installed_versions", "is_folder", "open_folder"]
