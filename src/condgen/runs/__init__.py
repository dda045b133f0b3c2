"""Run directories, and the record folders of models from elsewhere."""

from condgen.runs.folders import RecordFolder, Restored, Run, is_folder, open_folder
from condgen.runs.pages import installed_versions

__all__ = ["RecordFolder", "Restored", "Run", "installed_versions", "is_folder", "open_folder"]
