"""Reports: one audit, shown in many ways."""

from kvmfw.report.issues import Issue, Waiver, issues, read_waivers, waive
from kvmfw.report.junit import junit
from kvmfw.report.markdown import markdown
from kvmfw.report.sarif import sarif
from kvmfw.report.tabular import write_tables

__all__ = ["Issue", "Waiver", "issues", "junit", "markdown", "read_waivers", "sarif", "waive", "write_tables"]
