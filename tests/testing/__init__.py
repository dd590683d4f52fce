"""A stranger's repository, and broken ones, for the tests of the conformance suite."""
