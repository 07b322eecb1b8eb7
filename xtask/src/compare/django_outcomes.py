"""A test runner for Django: writes how each test ended, one JSON value a line, to the file that OUTCOMES names."""

import json
import os
import unittest

from django.test.runner import DiscoverRunner


class Outcomes(unittest.TextTestResult):
    def _ended(self, test, outcome):
        with open(os.environ["OUTCOMES"], "a", encoding="utf-8") as file:
            print(json.dumps([test.id(), outcome]), file=file)

    def addSuccess(self, test):
        super().addSuccess(test)
        self._ended(test, "passed")

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._ended(test, "failed: " + err[0].__name__)

    def addError(self, test, err):
        super().addError(test, err)
        self._ended(test, "failed: " + err[0].__name__)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._ended(subtest, "failed: " + err[0].__name__)


class Runner(DiscoverRunner):
    def get_resultclass(self):
        return Outcomes
