"""Manual pages in man(7), and as much of Markdown as the documents here use."""

import re


class Page:
    def __init__(self, name, section, release):
        """`release`: date and version."""
        self.name = name
        self.section = section
        date, version = release
        self.lines = [f'.TH {self.escape(name.upper())} {section} "{date}" "Corral {version}" "Corral"', ".nh", ".ad l"]

    def source(self):
        """In ASCII, as every troff reads it."""
        text = "\n".join(self.lines) + "\n"
        return "".join(c if c < "\x80" else f"\\[u{ord(c):04X}]" for c in text)

    @staticmethod
    def escape(text):
        for character, escaped in (("\\", "\\e"), ("-", "\\-"), ("'", "\\(aq"), ("`", "\\(ga"), ("^", "\\(ha"), ("~", "\\(ti")):
            text = text.replace(character, escaped)
        return text

    def bold(self, text):
        return f"\\fB{self.escape(text)}\\fR"

    def italic(self, text):
        return f"\\fI{self.escape(text)}\\fR"

    def reference(self, name, section):
        return f"{self.bold(name)}({section})"

    def raw(self, line):
        self.lines.append(line)

    def heading(self, title):
        self.lines.append(f'.SH "{self.escape(title)}"')

    def inline(self, text):
        """`code`, **bold**, *italic* and [text](target)."""
        parts = re.split(r"(`[^`]+`|\*\*[^*]+\*\*|\*[^*\s][^*]*\*|\[[^\]]+\]\([^)]+\))", " ".join(text.split()))
        result = ""
        for index, part in enumerate(parts):
            if index % 2 == 0:
                result += self.escape(part)
            elif part.startswith("`"):
                result += self.bold(part[1:-1])
            elif part.startswith("**"):
                result += self.bold(part[2:-2])
            elif part.startswith("*"):
                result += self.italic(part[1:-1])
            else:
                result += self.escape(part[1:part.index("](")])
        return result

    def text(self, text):
        line = self.inline(text)
        if line:
            self.lines.append(("\\&" if line[0] in ".'" else "") + line)

    def gap(self):
        """Between paragraphs; a heading has its own."""
        if not self.lines[-1].startswith(".SH"):
            self.lines.append(".PP")

    def paragraph(self, text):
        self.gap()
        self.text(text)

    def term(self, formatted):
        self.lines += [".TP", formatted]

    def item(self, text):
        self.lines.append(".IP \\(bu 2")
        self.text(text)

    def literal(self, text):
        self.lines += [".RS 2", ".nf"]
        for line in text.split("\n"):
            line = self.escape(line)
            self.lines.append(("\\&" if line[:1] in (".", "'") else "") + line)
        self.lines += [".fi", ".RE"]

    def table(self, rows):
        """The first column names what the others say; a heading is put before what it heads."""
        heading, *body = rows
        for first, *rest in body:
            self.term(self.inline(first))
            self.text(". ".join(
                (f"{title.capitalize()}: {value}" if index and title else value).rstrip(".")
                for index, (title, value) in enumerate(zip(heading[1:], rest)) if value) + ".")


def markdown(page, text):
    """Appends a document; its title (#) is left out."""
    lines = text.split("\n")
    index = 0
    while index < len(lines):
        line = lines[index]
        index += 1
        if line.startswith("```"):
            end = index
            while end < len(lines) and not lines[end].startswith("```"):
                end += 1
            page.gap()
            page.literal("\n".join(lines[index:end]))
            index = end + 1
        elif line.startswith("### "):
            page.raw(f'.SS "{page.escape(line[4:])}"')
        elif line.startswith("## "):
            page.heading(line[3:].upper())
        elif line.startswith("# ") or not line.strip():
            continue
        elif line.startswith("|"):
            rows = [line]
            while index < len(lines) and lines[index].startswith("|"):
                rows.append(lines[index])
                index += 1
            cells = [[part.strip().replace("\\|", "|") for part in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]
            page.table([row for row in cells if not all(re.fullmatch(r":?-+:?", part) for part in row)])
        else:
            while index < len(lines) and lines[index].strip() and not re.match(r"- |\||#|```", lines[index]):
                line += " " + lines[index].strip()
                index += 1
            if line.startswith("- "):
                page.item(line[2:])
            else:
                page.paragraph(line)
