"""Settings of an `[audit.NAME]` table."""

from condgen.config.section import Section


class AuditSettings(Section):
    """The settings of one audit; an audit without settings uses this class."""
