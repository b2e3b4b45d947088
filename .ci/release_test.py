#!/usr/bin/env python3
"""Tests of release.py."""

import tempfile
import unittest
from pathlib import Path

from release import notes

CHANGELOG = """# Changelog

## Unreleased

- Later.

## 1.2.3 - 2026-12-01

### Added

- This.

## 1.2.2 - 2026-11-01

- Before.
"""
CARGO = '[package]\nname = "totp-facade"\nversion = "1.2.3"\n\n[dependencies]\nclap = { version = "4" }\n'
CHART = 'name: totp-facade\nversion: 1.2.3\nappVersion: "1.2.3"\n'


class Notes(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        (self.root / "deploy/helm/totp-facade").mkdir(parents=True)
        self.write("Cargo.toml", CARGO)
        self.write("deploy/helm/totp-facade/Chart.yaml", CHART)
        self.write("CHANGELOG.md", CHANGELOG)

    def write(self, file, text):
        (self.root / file).write_text(text)

    def refuses(self, why, tag="v1.2.3"):
        with self.assertRaisesRegex(ValueError, why):
            notes(self.root, tag)

    def test_the_notes_are_those_of_the_version(self):
        self.assertEqual(notes(self.root, "v1.2.3"), "### Added\n\n- This.")

    def test_a_tag_without_v_is_none(self):
        self.refuses("no tag of a release", tag="1.2.3")

    def test_the_program_has_the_version(self):
        self.write("Cargo.toml", CARGO.replace("1.2.3", "1.2.4"))
        self.refuses("Cargo.toml")

    def test_the_chart_has_the_version(self):
        self.write("deploy/helm/totp-facade/Chart.yaml", CHART.replace("\nversion: 1.2.3", "\nversion: 1.2.2"))
        self.refuses("Chart.yaml: version: 1.2.2")

    def test_the_chart_runs_the_version(self):
        self.write("deploy/helm/totp-facade/Chart.yaml", CHART.replace('"1.2.3"', '"1.2.2"'))
        self.refuses("Chart.yaml: appVersion")

    def test_the_changelog_has_the_version(self):
        self.write("CHANGELOG.md", CHANGELOG.replace("## 1.2.3", "## 1.2.30"))
        self.refuses("CHANGELOG")

    def test_the_changelog_says_something(self):
        self.write("CHANGELOG.md", CHANGELOG.replace("### Added\n\n- This.\n", ""))
        self.refuses("says nothing")


unittest.main()
