"""Names the platform in the wheel's name: the program inside runs on it alone, with any Python 3."""

import os

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel


class ProgramWheel(bdist_wheel):
    def finalize_options(self):
        super().finalize_options()
        self.root_is_pure = False

    def get_tag(self):
        return "py3", "none", os.environ["COLDSTART_WHEEL_PLATFORM"]


setup(cmdclass={"bdist_wheel": ProgramWheel})
