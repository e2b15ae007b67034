"""Runs the program of a page against a new mesh: `guide.py PROGRAM GATEWAY`. GATEWAY is the address in the program."""

import pathlib
import sys

from mesh import Mesh


def main():
    path, gateway = sys.argv[1:]
    program = pathlib.Path(path).read_text()
    if gateway not in program:
        sys.exit(f"the program does not call {gateway}")
    with Mesh() as mesh:
        exec(compile(program.replace(gateway, mesh.address["gateway"]), path, "exec"), {})


if __name__ == "__main__":
    main()
