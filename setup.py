"""What pyproject.toml has no words for: configs/ and results/, which lie beside the packages here, lie in one of them in the wheel.

``benchmarks.config`` finds them in both places. Of their files ``package-data`` names those that are installed.
"""

from setuptools import find_packages, setup

SHIPPED = {"benchmarks.shipped.configs": "configs", "benchmarks.shipped.results": "results"}

setup(packages=[*find_packages(include=["gmsdi*", "baselines*", "benchmarks*"]), *SHIPPED], package_dir=SHIPPED)
