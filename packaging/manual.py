#!/usr/bin/python3
"""Reference pages out of what the programs say of themselves (--experimental-dump-help of swift-argument-parser).

    manual.py cli CORRAL CORRALD                 docs/CLI.md, on standard output
    manual.py man CORRAL CORRALD ROOT DIRECTORY  manual pages; ROOT is the top of the sources
    manual.py commands CORRAL                    every command, one a line
"""

import email.utils
import json
import os
import re
import subprocess
import sys

from roff import Page, markdown


class Option:
    def __init__(self, description):
        self.is_positional = description["kind"] == "positional"
        self.is_optional = description["isOptional"]
        self.is_repeating = description["isRepeating"]
        self.takes_value = description["kind"] == "option"
        self.value = description.get("valueName", "")
        self.names = [
            ("-" if name["kind"] == "short" else "--") + name["name"]
            for name in sorted(description.get("names", []), key=lambda name: name["kind"] != "short")
        ]
        self.abstract = description.get("abstract", "")
        self.discussion = description.get("discussion", "")
        self.values = description.get("allValues", [])
        self.default = description.get("defaultValue")

    @property
    def is_standard(self):
        """--help and --version, which every command has."""
        return "--help" in self.names or "--version" in self.names

    @property
    def text(self):
        """What it means, its values and its default."""
        parts = [self.abstract]
        if self.discussion:
            parts.append(self.discussion)
        notes = []
        if self.values and not all(value in self.abstract for value in self.values):
            notes.append("values: " + ", ".join(self.values))
        if self.default not in (None, "") and "default" not in self.abstract:
            notes.append("default: " + self.default)
        if self.is_repeating and not self.is_positional:
            notes.append("may be repeated")
        if notes:
            parts.append("(" + "; ".join(notes) + ")")
        return " ".join(part for part in parts if part)


class Command:
    def __init__(self, description, parents=()):
        self.path = (*parents, description["commandName"])
        self.abstract = description.get("abstract", "")
        self.discussion = description.get("discussion", "")
        options = [Option(a) for a in description.get("arguments", []) if a.get("shouldDisplay", True)]
        self.positionals = [option for option in options if option.is_positional]
        self.options = [option for option in options if not option.is_positional and not option.is_standard]
        self.subcommands = [
            Command(sub, self.path)
            for sub in description.get("subcommands", [])
            if sub.get("shouldDisplay", True) and sub["commandName"] != "help"
        ]

    @classmethod
    def of(cls, program):
        dump = subprocess.run([program, "--experimental-dump-help"], check=True, stdout=subprocess.PIPE)
        return cls(json.loads(dump.stdout)["command"])

    @property
    def name(self):
        return " ".join(self.path)

    def all(self):
        yield self
        for subcommand in self.subcommands:
            yield from subcommand.all()

    def usage(self):
        """Words of the synopsis behind the name."""
        words = ["[options]"] if self.options else []
        for positional in self.positionals:
            word = f"<{positional.value}>" + (" ..." if positional.is_repeating else "")
            words.append(f"[{word}]" if positional.is_optional else word)
        if self.subcommands:
            words.append("<subcommand>")
        return words


def cell(text):
    return text.replace("|", "\\|").replace("\n", " ")


def cli_page(commands):
    lines = [
        "# Command line",
        "",
        "Written by `make docs` out of the programs themselves. `corral help COMMAND` and the manual pages say the same.",
        "",
        "| command | |",
        "|---|---|",
    ]
    for program in commands:
        for command in program.all():
            anchor = re.sub(r"[^a-z0-9 -]", "", command.name.lower()).replace(" ", "-")
            lines.append(f"| [`{command.name}`](#{anchor}) | {cell(command.abstract)} |")
    for program in commands:
        for command in program.all():
            lines += ["", f"## {command.name}", "", command.abstract]
            if command.discussion:
                lines += ["", command.discussion.strip()]
            lines += ["", "```", " ".join([command.name, *command.usage()]), "```"]
            rows = [(f"`{option_name(option)}`", option.text) for option in command.positionals + command.options]
            if rows:
                lines += ["", "| | |", "|---|---|"]
                lines += [f"| {cell(name)} | {cell(text)} |" for name, text in rows]
    return "\n".join(lines) + "\n"


def option_name(option):
    if option.is_positional:
        return f"<{option.value}>"
    return ", ".join(option.names) + (f" <{option.value}>" if option.takes_value else "")


def write_options(page, options):
    for option in options:
        if option.is_positional:
            page.term(page.italic(option.value))
        else:
            value = " " + page.italic(option.value) if option.takes_value else ""
            page.term(", ".join(page.bold(name) for name in option.names) + value)
        page.text(option.text)


def command_page(command, program, section, release, root):
    page = Page("-".join(command.path), section, release)
    page.heading("NAME")
    page.raw("\\-".join(map(page.escape, command.path)) + " \\- " + page.escape(command.abstract.rstrip(".")))
    page.heading("SYNOPSIS")
    page.raw(page.bold(command.name) + " " + " ".join(synopsis(page, word) for word in command.usage()))
    page.heading("DESCRIPTION")
    page.paragraph(command.abstract)
    for paragraph in filter(None, command.discussion.split("\n\n")):
        page.paragraph(paragraph)
    if command.subcommands:
        page.heading("COMMANDS")
        for subcommand in command.subcommands:
            page.term(page.reference("-".join(subcommand.path), 1))
            page.text(subcommand.abstract)
    if command.positionals:
        page.heading("ARGUMENTS")
        write_options(page, command.positionals)
    if command.options:
        page.heading("OPTIONS")
        write_options(page, command.options)
    extra = os.path.join(root, "packaging/man", "-".join(command.path) + ".md")
    if os.path.exists(extra):
        with open(extra, encoding="utf-8") as file:
            markdown(page, file.read())
    page.heading("SEE ALSO")
    pages = [("corral", 1)] if command.path != ("corral",) else []
    pages += [("-".join(command.path[:-1]), 1)] if len(command.path) > 2 else []
    pages += [("corral-policy", 5)] if "policy" in " ".join([command.name] + [o.value for o in command.options]) else []
    pages += [("corrald", 8)] if program != "corrald" else [("corrald.yaml", 5), ("corral-policy", 5)]
    page.raw(",\n".join(page.reference(*reference) for reference in dict.fromkeys(pages)))
    return page


def synopsis(page, word):
    parts = re.split(r"<([^>]*)>", word)
    return "".join(page.italic(part) if index % 2 else page.escape(part) for index, part in enumerate(parts))


def policy_page(root, release):
    page = Page("corral-policy", 5, release)
    page.heading("NAME")
    page.raw("corral\\-policy \\- policy files of Corral")
    page.heading("DESCRIPTION")
    with open(os.path.join(root, "docs/POLICY.md"), encoding="utf-8") as file:
        markdown(page, file.read())
    page.heading("SEE ALSO")
    page.raw(",\n".join(page.reference(*reference) for reference in (("corral", 1), ("corral-policy", 1), ("corrald", 8))))
    return page


def settings_page(daemon, root, release):
    page = Page("corrald.yaml", 5, release)
    page.heading("NAME")
    page.raw("corrald.yaml \\- settings of corrald")
    page.heading("DESCRIPTION")
    page.paragraph(
        "A YAML mapping that `corrald --config` reads. A flag of the same name wins over it; what is missing has its "
        "default. `corrald --check --config FILE` reads one and says what is wrong with it, with file and line.")
    page.heading("SETTINGS")
    for option in daemon.options:
        names = [name for name in option.names if name.startswith("--") and name not in ("--config", "--check")]
        if names:
            page.term(page.bold(names[0][2:]))
            page.text(option.text)
    page.heading("FILES")
    page.term("/etc/corral/corrald.yaml")
    page.text("What the service reads. As it is shipped:")
    page.gap()
    with open(os.path.join(root, "packaging/corrald.yaml"), encoding="utf-8") as file:
        page.literal(file.read().rstrip("\n"))
    page.heading("SEE ALSO")
    page.raw(page.reference("corrald", 8))
    return page


def release_date(root):
    """Of the newest entry of the package's changelog."""
    with open(os.path.join(root, "packaging/debian/changelog"), encoding="utf-8") as file:
        signature = next(line for line in file if line.startswith(" -- "))
    return email.utils.parsedate_to_datetime(signature.split(">", 1)[1].strip()).date().isoformat()


def manual_pages(corral, corrald, root, directory):
    release = (release_date(root), subprocess.run([corrald, "--version"], check=True, stdout=subprocess.PIPE).stdout.decode().strip())
    client, daemon = Command.of(corral), Command.of(corrald)
    pages = [command_page(command, "corral", 1, release, root) for command in client.all()]
    pages += [command_page(daemon, "corrald", 8, release, root), policy_page(root, release)]
    pages.append(settings_page(daemon, root, release))
    os.makedirs(directory, exist_ok=True)
    for page in pages:
        with open(os.path.join(directory, f"{page.name}.{page.section}"), "w", encoding="utf-8") as file:
            file.write(page.source())


def main(arguments):
    match arguments:
        case ["cli", corral, corrald]:
            sys.stdout.write(cli_page([Command.of(corral), Command.of(corrald)]))
        case ["man", corral, corrald, root, directory]:
            manual_pages(corral, corrald, root, directory)
        case ["commands", corral]:
            print("\n".join(command.name for command in Command.of(corral).all()))
        case _:
            sys.exit(__doc__)


main(sys.argv[1:])
