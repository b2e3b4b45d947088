#!/usr/bin/env python3
"""Tests of release.py and sbom.py."""

import json
import tempfile
import unittest
from pathlib import Path

from release import notes
from sbom import of_program

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


class Materials(unittest.TestCase):
    ours, used, other = ("totp-facade", "1.2.3"), ("used", "1.0.0"), ("other", "0.1.0")

    def setUp(self):
        licences = [{"expression": "MIT"}]
        self.bom = {
            "bomFormat": "CycloneDX",
            "metadata": {"component": {
                "name": "totp-facade", "version": "1.2.3", "bom-ref": "path+file:///home/me#totp-facade@1.2.3",
                "purl": "pkg:cargo/totp-facade@1.2.3?download_url=file://.", "licenses": licences}},
            "components": [
                {"name": name, "version": version, "bom-ref": f"{name}@{version}", "licenses": licences}
                for name, version in (self.used, self.other)],
            "dependencies": [
                {"ref": "path+file:///home/me#totp-facade@1.2.3", "dependsOn": ["other@0.1.0", "used@1.0.0"]},
                {"ref": "other@0.1.0"}, {"ref": "used@1.0.0"}],
        }

    def made(self, *more, folder="/home/me"):
        return of_program(self.bom, {self.ours, self.used, *more}, folder)

    def refuses(self, why, *more, **options):
        with self.assertRaisesRegex(ValueError, why):
            self.made(*more, **options)

    def test_crates_that_the_program_does_not_have_are_left_out(self):
        bom = self.made()
        self.assertEqual([it["name"] for it in bom["components"]], ["used"])
        expected = [{"ref": "totp-facade@1.2.3", "dependsOn": ["used@1.0.0"]}, {"ref": "used@1.0.0"}]
        self.assertEqual(bom["dependencies"], expected)

    def test_it_names_no_file_of_the_machine(self):
        self.assertNotIn("/home/me", json.dumps(self.made()))
        self.assertNotIn("file://", json.dumps(self.made()))
        self.refuses("files of this machine", folder="/home/you")

    def test_the_serial_number_follows_from_the_content(self):
        number, with_other = self.made()["serialNumber"], self.made(self.other)["serialNumber"]
        self.assertRegex(number, "^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")
        self.assertEqual(number, self.made()["serialNumber"])
        self.assertNotEqual(number, with_other)

    def test_a_crate_that_it_lacks_is_an_error(self):
        self.refuses("lacks .*new", ("new", "2.0.0"))

    def test_a_crate_without_a_licence_is_an_error(self):
        del self.bom["components"][0]["licenses"]
        self.refuses("no licence .*used")


unittest.main()
