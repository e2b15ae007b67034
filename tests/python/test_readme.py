"""The README's tour works as printed: its Python blocks, in order, as one program against a fresh mesh."""

import os
import re
import subprocess
import sys
import tempfile
import unittest

from contracts import REPOSITORY
from mesh import Mesh

BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class ReadmeTest(unittest.TestCase):
    def test_the_tour_runs(self):
        readme = REPOSITORY / "README.md"
        self.assertTrue(readme.is_file(), "README.md is missing: its tour is what this test runs")
        blocks = BLOCK.findall(readme.read_text(encoding="utf-8"))
        self.assertTrue(blocks, "README.md has no ```python block: the tour needs one")
        with Mesh() as mesh, tempfile.NamedTemporaryFile("w", suffix=".py", encoding="utf-8") as program:
            program.write("\n".join(blocks))
            program.flush()
            inherited = {name: value for name, value in os.environ.items() if not name.startswith("TRELLIS_")}
            ran = subprocess.run(
                [sys.executable, program.name],
                cwd=REPOSITORY,
                env=inherited | {"TRELLIS_ADDRESS": mesh.address["gateway"], "PYTHONDONTWRITEBYTECODE": "1"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=120,
                check=False,
            )
            self.assertEqual(ran.returncode, 0, f"{ran.stdout}\n{mesh.said()}")


if __name__ == "__main__":
    unittest.main()
