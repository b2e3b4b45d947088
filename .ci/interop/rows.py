"""The rows of the matrix: what each client is asked to do."""

import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

import debian
from interop import cells, scenes
from interop.client import Client, address
from interop.programs import PROGRAMS
from interop.tools import TOOLS
from snippets.languages import LANGUAGES


def every_row(names):
    """For each client the columns that it was asked for, and whether they hold. No names are all names."""
    programs = built([name for name in PROGRAMS if name in (names or PROGRAMS)])
    rows = defaultdict(dict)
    with scenes.plain() as plain, scenes.secure() as secure:
        for name, program in programs.items():
            of_program(Row(rows, name), program, plain, secure)
        for name, tool in TOOLS.items():
            if name in (names or TOOLS):
                of_tool(Row(rows, name), tool, plain, secure)
        if programs:
            of_all(rows, programs, plain)
    return rows


def built(names):
    """The programs, two at a time; the slowest first."""
    debian.install("ruby", *(group for language in LANGUAGES.values() for group in language.packages))

    def build(name):
        start = time.monotonic()
        program = PROGRAMS[name]()
        print(f"ok: {name}: built in {time.monotonic() - start:.0f} s", flush=True)
        return program

    with ThreadPoolExecutor(2) as pool:
        building = {name: pool.submit(build, name) for name in reversed(names)}
        return {name: building[name].result() for name in names}


class Row:
    def __init__(self, rows, name):
        self.rows, self.name = rows, name

    def cell(self, column, function, *arguments):
        start = time.monotonic()
        try:
            function(*arguments)
            self.rows[self.name][column] = True
            print(f"ok: {self.name}: {column} in {time.monotonic() - start:.1f} s", flush=True)
        except cells.Failed as failure:
            self.rows[self.name][column] = False
            print(f"failed: {self.name}: {column}: {failure}", flush=True)


def of_program(row, program, plain, secure):
    row.cell("call", cells.call, program, plain)
    with Client(program, **address(plain.addr)) as client:
        common(row, client, plain)
        row.cell("retry policy", cells.retries, client, plain)
        row.cell("broken connection", cells.broken_connection, client, plain)
    row.cell("TLS and token", cells.tls, program, secure)
    row.cell("mTLS", cells.mtls, program, secure)


def of_tool(row, tool, plain, secure):
    row.cell("call", cells.call_of_tool, tool, plain)
    common(row, tool(**address(plain.addr)), plain)
    row.cell("TLS and token", cells.tls_of_tool, tool, secure)
    row.cell("mTLS", cells.mtls_of_tool, tool, secure)


def common(row, client, plain):
    row.cell("rich errors", cells.rich_errors, client, plain)
    row.cell("deadline", cells.deadline, client, plain)
    row.cell("replay", cells.replay, client, plain)
    row.cell("health", cells.health, client, plain)


def of_all(rows, programs, plain):
    """All programs call while the replicas are replaced."""
    clients = {name: Client(program, **address(plain.addr)) for name, program in programs.items()}
    outcomes = scenes.rolled(clients, plain)
    executed, made = plain.sandbox.asked(), sum(map(len, outcomes.values()))
    print(f"ok: rolling restart: {made} calls, {executed} executed", flush=True)
    for name in programs:
        Row(rows, name).cell("rolling restart", cells.rolling_restart, outcomes[name], made, executed)
