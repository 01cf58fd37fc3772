"""What the catalogue is asked about a device."""

import unittest

import pomona


class Subjects(unittest.TestCase):
    def test_a_subject_says_what_the_snapshot_tells_and_no_more(self):
        ipad = pomona.subject(pomona.Snapshot(platform="ipados", os_version="27.0"))
        self.assertEqual(ipad, pomona.Subject(platform="ipados", os_version="27.0"))
        status = pomona.Fact("security.management-status", '{"EnrolledViaDEP": false, "UserApprovedEnrollment": true}')
        mac = pomona.Snapshot(channel=pomona.Channel("user", "ada"), facts_json=pomona.facts_json(status))
        told = pomona.subject(mac)
        self.assertEqual((told.automated, told.user_approved, told.user_channel), (False, True, True))
        mac.kind = "automated"
        self.assertIs(pomona.subject(mac).automated, True)
        self.assertTrue(pomona.subject(pomona.Snapshot(kind="account-driven-user")).user_enrollment)
        odd = pomona.Snapshot(facts_json=pomona.facts_json(pomona.Fact("security.management-status", '"yes"')))
        self.assertIsNone(pomona.subject(odd).automated)

    def test_the_catalogue_is_asked_of_the_host(self):
        class Catalogue:
            def preflight(self, subject, kind, name, body_json):
                return pomona.Judgement("refused", [pomona.Objection("supervision", "refuses", name)])

        with pomona.FakeHost(catalogue=Catalogue()):
            told = pomona.catalogue.preflight(pomona.Subject(), "command", "EraseDevice", "{}")
        self.assertEqual((told.verdict, told.objections[0].key), ("refused", "EraseDevice"))


if __name__ == "__main__":
    unittest.main()
