"""The tour in the README works as printed: its shell block generates the client, then its Python blocks run in order,
as one program, against a fresh mesh."""

import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

from contracts import REPOSITORY
from mesh import Mesh

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class ReadmeTest(unittest.TestCase):
    def blocks(self):
        readme = REPOSITORY / "README.md"
        self.assertTrue(readme.is_file(), "README.md is missing: this test runs its tour")
        found = BLOCK.findall(readme.read_text(encoding="utf-8"))
        generate = [text for language, text in found if language == "sh" and "grpc_tools.protoc" in text]
        python = [text for language, text in found if language == "python"]
        self.assertTrue(python, "README.md has no ```python block: the tour needs one")
        return generate, "\n".join(python)

    def run_block(self, command, folder, **environment):
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("TRELLIS_")}
        # `python` in a block is the interpreter of this test.
        path = f"{pathlib.Path(sys.executable).parent}{os.pathsep}{inherited['PATH']}"
        ran = subprocess.run(
            command,
            cwd=folder,
            env=inherited | {"PATH": path} | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        self.assertEqual(ran.returncode, 0, ran.stdout)
        return ran.stdout

    def test_readme_tour_runs(self):
        generate, program = self.blocks()
        with tempfile.TemporaryDirectory() as folder:
            # The reader's view of the repository, without writing into it.
            os.symlink(REPOSITORY / "proto", f"{folder}/proto")
            for block in generate:
                self.run_block(["sh", "-ec", block], folder)
            with Mesh() as mesh:
                found = {"TRELLIS_ADDRESS": mesh.address["gateway"], "PYTHONPATH": f"{folder}/generated"}
                self.assertTrue(self.run_block([sys.executable, "-c", program], folder, **found))


if __name__ == "__main__":
    unittest.main()
