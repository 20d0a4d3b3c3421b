"""Static reading of shell scripts and of the words in Dockerfile instructions: what a command's words are, not what it does.

Of the shell's language, simple commands are read: words with their quotations, `$NAME` and `${NAME:-default}`, the
assignments before a command, redirections, here-documents, and the operators between commands. At anything else (`if`,
loops, functions, `( )`) reading ends, and the script says where and why. A substitution (`$(...)`) is never looked
into: the statement that holds one is marked, as is one with any `${...}` but a name, with a default, an
alternative or a part cut off behind it. What shells make different things of, or what changes how they read the rest, leaves the rest in doubt.
Every step is linear in the text.

Sources: POSIX.1-2017 Shell Command Language 2.2, 2.6, 2.7; the environment replacement of the Dockerfile reference.
"""

import re
from collections.abc import Sequence

import msgspec

from quarantine.spec.shell_words import Field, Lookup, Piece, Word, whole

__all__ = ["Heredoc", "Redirect", "Script", "Statement", "docker_text", "parse"]

MAX_STATEMENTS = 2000
MAX_DEPTH = 8
MAX_HEREDOCS = 100

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(\+?)=")
_OPERATOR = re.compile(r"&&|\|\||\|&|;;|[;&|\n]")
_REDIRECT = re.compile(r"[0-9]*(?:<<<|<<-|<<|<&|<>|<|>>|>&|>\||>)|&>>|&>")
_PARAMETER = re.compile(r":?[-+?]")
# a length, or a value without a part of it, which runs nothing
_CUT = re.compile(r"\$\{#?[A-Za-z_][A-Za-z0-9_]*(?:[#%/^,][^$`\[{]*)?\}")
# in a here-document: what runs commands, or may
_SUBSTITUTION = re.compile(r"\$[(\[]|`|\$\{(?![A-Za-z_][A-Za-z0-9_]*(?:\}|:?[-+?]|[#%/^,][^$`\[{}]*\}))")
_SET = re.compile(r"[-+][euvx]*o?|pipefail|errexit|nounset|xtrace|verbose")
_ENDS = frozenset({"exit", "exec", "return", "logout"})
# special builtins, before which an assignment lasts, and those that change how the rest is read
_SPECIAL = frozenset(
    ": . break continue eval exec exit export readonly return set shift source times trap unset".split()  # noqa: SIM905
)
_CHANGES = _SPECIAL | {"cd", "shopt", "alias", "pushd", "popd", "read"}
_BLANK = " \t"
_WORD_END = frozenset(" \t\n;&|<>()")
_COMPOUND = frozenset(
    "if then elif else fi for while until do done case esac function select coproc { } [[".split()  # noqa: SIM905
)


class Heredoc(msgspec.Struct, frozen=True, kw_only=True):
    """The text of a here-document. `literal` is whether its delimiter was quoted, so that nothing in it is expanded."""

    text: str
    literal: bool
    start: int


class Redirect(msgspec.Struct, frozen=True, kw_only=True):
    """A redirection: its operator without the descriptor, and the file, descriptor or delimiter behind it."""

    operator: str
    target: Word


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """A simple command. `operator` stands before it: "" at the start, ";" for a line's end too.

    `substitutes` is whether commands run in its words, or in its here-documents, before it does.
    """

    operator: str
    assignments: tuple[tuple[str, Word | None], ...] = ()
    words: tuple[Word, ...] = ()
    redirects: tuple[Redirect, ...] = ()
    heredocs: tuple[Heredoc, ...] = ()
    substitutes: bool = False
    start: int = 0
    end: int = 0


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """What was read of a script. `rest` is the place from which on that isn't all there is to it, `why` the reason.

    Commands behind it are there as far as they can be told: they run as well, or may.
    """

    statements: tuple[Statement, ...]
    rest: int | None = None
    why: str = ""


def parse(text: str) -> Script:
    """The simple commands of a script, as far as it can be read."""
    return _Scanner(text).script()


def docker_text(text: str, lookup: Lookup, escape: str = "\\") -> Field:
    """The text of a Dockerfile's word after environment replacement, its quotes removed; ValueError for an open quote."""
    pieces = _Scanner(text, escape=escape, docker=True).pieces(0)
    return whole(pieces, lookup)


# --- scanning ---------------------------------------------------------------------------------------------------------


_TIMED = "`time` is a part of the language to some shells, and a program to others"


class _UnreadError(ValueError):
    """Reading ends here, and why."""


class _Scanner:
    """Reads a text once from left to right."""

    def __init__(self, text: str, *, escape: str = "\\", docker: bool = False) -> None:
        self.text = text
        self.escape = escape
        self.docker = docker
        self.place = 0
        self.substitutes = False
        self.doubt = ""
        self.doubted: tuple[int, str] | None = None
        self.number = 0
        self.waiting: list[tuple[str, bool, bool, int]] = []

    def script(self) -> Script:
        """Everything up to the end, or to what isn't read."""
        statements: list[Statement] = []
        operator = ""
        while True:
            start = self.place
            try:
                self.number = len(statements)
                statement, following = self._statement(operator)
            except _UnreadError as error:
                return self._script(statements, _past_blanks(self.text, start), str(error))
            if self.doubt and self.doubted is None:
                self.doubted = statement.start, self.doubt
            if statement.words or statement.assignments or statement.redirects or statement.substitutes:
                statements.append(statement)
                operator = following
            if self.waiting and following == ";" and self.text[self.place - 1] == "\n":
                self._bodies(statements)
            if self.place >= len(self.text):
                return self._script(statements, None, "")
            if len(statements) >= MAX_STATEMENTS:
                return self._script(statements, self.place, f"more than {MAX_STATEMENTS} commands in one")

    def _script(self, statements: Sequence[Statement], rest: int | None, why: str) -> Script:
        """What was read, and the first place from which on it isn't sure."""
        doubts = [found for found in (self.doubted, _doubt(statements), (rest, why)) if found and found[0] is not None]
        place, reason = min(doubts, default=(None, ""))
        return Script(statements=tuple(statements), rest=place, why=reason)

    def _statement(self, operator: str) -> tuple[Statement, str]:
        """One simple command, and the operator behind it."""
        assignments: list[tuple[str, Word | None]] = []
        words: list[Word] = []
        redirects: list[Redirect] = []
        self.substitutes, self.doubt = False, ""
        self._blanks()
        start = end = self.place
        following = ""
        while self.place < len(self.text):
            character = self.text[self.place]
            redirect = _REDIRECT.match(self.text, self.place) if character in "<>&" or character.isdigit() else None
            if character == "#":
                end_of_line = self.text.find("\n", self.place)
                self.place = len(self.text) if end_of_line < 0 else end_of_line
            elif redirect is not None:
                redirects.append(self._redirect(redirect))
            elif (found := _OPERATOR.match(self.text, self.place)) is not None:
                following = self._operator(found)
                break
            elif character in "()":
                raise _UnreadError("a group of commands, or a function, isn't read statically")
            else:
                self._word(assignments, words)
            if character != "#":
                end = self.place
            self._blanks()
        if sum(redirect.operator[0] == "<" for redirect in redirects) > 1 and self._hears(redirects):
            raise _UnreadError("a here-document beside another input")
        if self.doubt == _TIMED and words and not assignments and words[0].plain not in {None, *_CHANGES}:
            self.doubt = ""
        statement = Statement(
            operator=operator,
            assignments=tuple(assignments),
            words=tuple(words),
            redirects=tuple(redirects),
            substitutes=self.substitutes,
            start=start,
            end=end,
        )
        return statement, following

    def _hears(self, redirects: Sequence[Redirect]) -> bool:
        return any(redirect.operator in {"<<", "<<-"} for redirect in redirects)

    def _operator(self, found: re.Match[str]) -> str:
        if found[0] == ";;":
            raise _UnreadError("`case` isn't read statically")
        self.place = found.end()
        return {"\n": ";", "|&": "|"}.get(found[0], found[0])

    def _redirect(self, found: re.Match[str]) -> Redirect:
        self.place = found.end()
        operator = found[0].lstrip("0123456789")
        descriptor = found[0][: -len(operator)]
        if self.text[found.start() - 1 : found.start()] == "}":
            raise _UnreadError("`{NAME}` before a redirection means different things to different shells")
        if operator in {"&>", "&>>"}:
            self.doubt = f"{operator} means different things to different shells: write > and 2>&1"
        if self.text[self.place : self.place + 1] == "(":
            raise _UnreadError("a substitution of commands isn't read statically")
        self._blanks()
        start = self.place
        word = Word(pieces=self.pieces(0), start=start)
        if self.place == start:
            raise _UnreadError("a redirection to nothing")
        if operator in {"<<", "<<-"}:
            delimiter = "".join(piece.text for piece in word.pieces)
            if any(piece.name or piece.opaque for piece in word.pieces):
                raise _UnreadError("a here-document whose end isn't plain")
            if descriptor not in {"", "0"}:
                raise _UnreadError("a here-document that isn't the command's input")
            if len(self.waiting) >= MAX_HEREDOCS:
                raise _UnreadError(f"more than {MAX_HEREDOCS} here-documents in one line")
            self.waiting.append((delimiter, any(piece.quoted for piece in word.pieces), operator == "<<-", self.number))
        return Redirect(operator=operator, target=word)

    def _word(self, assignments: list[tuple[str, Word | None]], words: list[Word]) -> None:
        """One word, kept where it belongs."""
        start = self.place
        found = None if words else _ASSIGNMENT.match(self.text, start)
        if found is not None:
            self.place = found.end()
            value = Word(pieces=self.pieces(0), start=start)
            assignments.append((found[1], None if found[2] else value))
            return
        word = Word(pieces=self.pieces(0), start=start)
        literal = None if words else word.literal
        if literal in _COMPOUND:
            raise _UnreadError(f"`{literal}` isn't read statically")
        if literal == "time" and not assignments:
            self.doubt = self.doubt or _TIMED
        elif literal != "!" or assignments:
            words.append(word)

    def _bodies(self, statements: list[Statement]) -> None:
        """The here-documents whose delimiters stood in the line that has just ended, given to their commands."""
        for delimiter, literal, tabs, number in self.waiting:
            start = self.place
            end = start
            while True:
                line_end = self.text.find("\n", end)
                line = self.text[end:] if line_end < 0 else self.text[end:line_end]
                found = (line.lstrip("\t") if tabs else line) == delimiter
                if found or line_end < 0:
                    body = self.text[start:end] if found else self.text[start:]
                    self.place = len(self.text) if line_end < 0 else line_end + 1
                    break
                end = line_end + 1
            statement = statements[number]
            statements[number] = msgspec.structs.replace(
                statement,
                heredocs=(*statement.heredocs, Heredoc(text=body, literal=literal, start=start)),
                substitutes=statement.substitutes or (not literal and _SUBSTITUTION.search(body) is not None),
            )
        self.waiting = []

    def _blanks(self) -> None:
        while self.place < len(self.text):
            if self.text[self.place] in _BLANK:
                self.place += 1
            elif self.text.startswith("\\\n", self.place):
                self.place += 2
            else:
                return

    # --- words ---

    def pieces(self, depth: int, closing: str = "") -> tuple[Piece, ...]:
        """The pieces up to the end of the word, or to an unquoted `closing`, which is taken as well."""
        found: list[Piece] = []
        while self.place < len(self.text):
            character = self.text[self.place]
            if closing and character == closing:
                self.place += 1
                return tuple(found)
            if not closing and not self.docker and character in _WORD_END:
                break
            self._piece(character, depth, found)
        if closing:
            raise _UnreadError("a '${' without its '}'")
        return tuple(found)

    def _piece(self, character: str, depth: int, found: list[Piece]) -> None:
        if character == self.escape:
            following = self.text[self.place + 1 : self.place + 2]
            if self.docker or following != "\n":
                found.append(Piece(text=following or self.escape, quoted=True))
            self.place += 2
        elif character == "'":
            end = self.text.find("'", self.place + 1)
            if end < 0:
                raise _UnreadError("a quotation that isn't closed")
            found.append(Piece(text=self.text[self.place + 1 : end], quoted=True))
            self.place = end + 1
        elif character == '"':
            self.place += 1
            self._double_quoted(depth, found)
        elif character == "$":
            found.append(self._dollar(depth, quoted=False))
        elif character == "`" and not self.docker:
            found.append(self._backticks())
        else:
            self._plain(found)

    def _plain(self, found: list[Piece]) -> None:
        """The literal text up to the next character that means something."""
        start = self.place
        self.place += 1
        while self.place < len(self.text):
            character = self.text[self.place]
            if character in "'\"$`}" or character == self.escape or (not self.docker and character in _WORD_END):
                break
            self.place += 1
        found.append(Piece(text=self.text[start : self.place]))

    def _double_quoted(self, depth: int, found: list[Piece]) -> None:
        found.append(Piece(quoted=True))
        start = self.place
        while self.place < len(self.text):
            character = self.text[self.place]
            following = self.text[self.place + 1 : self.place + 2]
            if character == '"':
                found.append(Piece(text=self.text[start : self.place], quoted=True))
                self.place += 1
                return
            escaped = {'"', "$", self.escape} if self.docker else {'"', "$", "\\", "`", "\n"}
            if character == self.escape and following in escaped:
                found.append(Piece(text=self.text[start : self.place], quoted=True))
                # an escaped line end joins the lines, any other character stands for itself
                start = self.place + (2 if following == "\n" else 1)
                self.place += 2
            elif character == "$" or (character == "`" and not self.docker):
                found.append(Piece(text=self.text[start : self.place], quoted=True))
                found.append(self._dollar(depth, quoted=True) if character == "$" else self._backticks())
                start = self.place
            else:
                self.place += 1
        raise _UnreadError("a quotation that isn't closed")

    def _dollar(self, depth: int, *, quoted: bool) -> Piece:
        start = self.place
        self.place += 1
        following = self.text[self.place : self.place + 1]
        if following == "(" and not self.docker:
            self._skip("(", ")")
            self.substitutes = True
            return Piece(text=self.text[start : self.place], quoted=quoted, opaque=True)
        if following == "{":
            return self._parameter(start, depth, quoted=quoted)
        if not self.docker and (following == "[" or (not quoted and following in {"'", '"'})):
            if following == "[":
                raise _UnreadError("$[ means different things to different shells")
            raise _UnreadError("$ before a quotation means different things to different shells")
        found = _NAME.match(self.text, self.place)
        if found is not None:
            self.place = found.end()
            return Piece(name=found[0], text=self.text[start : self.place], quoted=quoted)
        if following and following in "@*#?-$!0123456789":
            self.place += 1
            return Piece(text=self.text[start : self.place], quoted=quoted, opaque=True)
        return Piece(text="$", quoted=quoted)

    def _parameter(self, start: int, depth: int, *, quoted: bool) -> Piece:
        """`${...}`: a name, perhaps with a default or an alternative behind it; any other form can't be told."""
        found = _NAME.match(self.text, self.place + 1)
        end = self.place + 1 if found is None else found.end()
        if found is not None and self.text[end : end + 1] == "}":
            self.place = end + 1
            return Piece(name=found[0], text=self.text[start : self.place], quoted=quoted)
        operator = _PARAMETER.match(self.text, end)
        if found is None or operator is None or depth >= MAX_DEPTH:
            self._skip("{", "}")
            body = self.text[start : self.place]
            self.substitutes = self.substitutes or _CUT.fullmatch(body) is None
            if self.text[end : end + 2].lstrip(":")[:1] == "=":
                self.doubt = "an assignment in ${...} isn't read"
            return Piece(text=body, quoted=quoted, opaque=True)
        self.place = operator.end()
        argument = self.pieces(depth + 1, closing="}")
        return Piece(
            name=found[0],
            text=self.text[start : self.place],
            quoted=quoted,
            operator=operator[0],
            argument=argument,
        )

    def _backticks(self) -> Piece:
        start = self.place
        self.place += 1
        while self.place < len(self.text) and self.text[self.place] != "`":
            self.place += 2 if self.text[self.place] == "\\" else 1
        self.place += 1
        self.substitutes = True
        return Piece(text=self.text[start : self.place], opaque=True)

    def _skip(self, opening: str, closing: str) -> None:
        """Passes over what is not looked into, up to its end, or to the script's where that isn't found."""
        depth = 0
        while self.place < len(self.text):
            character = self.text[self.place]
            if character == "\\":
                self.place += 1
            elif character == "'":
                end = self.text.find("'", self.place + 1)
                self.place = len(self.text) if end < 0 else end
            elif character == opening:
                depth += 1
            elif character == closing:
                depth -= 1
                if not depth:
                    self.place += 1
                    return
            self.place += 1
        self.place = len(self.text)
        if self.docker:
            raise _UnreadError("a '${' without its '}'")


def _doubt(statements: Sequence[Statement]) -> tuple[int, str] | None:
    """The first command from which on what the shell makes of the script isn't sure, and why."""
    last = max((place for place, found in enumerate(statements) if found.operator not in {"&&", "|"}), default=0)
    ended = either = False
    for place, statement in enumerate(statements):
        words = [word.plain for word in statement.words]
        either = statement.operator == "||" or (either and statement.operator in {"&&", "|"})
        if statement.operator == "&":
            return statement.start, "what runs in the background isn't read in its order"
        why = _changes(statement, words, sure=place >= last)
        writes = statement.heredocs and any(">" in redirect.operator for redirect in statement.redirects)
        if writes and (ended or either or (statement.operator == "&&" and place < last)):
            why = "whether the file is written isn't known"
        if why:
            return statement.start, why
        ended = ended or not _ENDS.isdisjoint(words[:3])
    return None


def _changes(statement: Statement, words: Sequence[str | None], *, sure: bool) -> str:
    """Why a command leaves in doubt what comes behind it; `sure` is whether nothing does where it fails."""
    name = words[0] if words else ""
    if statement.assignments and (name is None or name in _SPECIAL):
        return "whether the assignment outlasts its command isn't known"
    if name in {"unset", "shopt"}:
        return f"what {name} changes isn't read"
    if name == "set" and not all(word is not None and _SET.fullmatch(word) for word in words[1:]):
        return "what set changes isn't read"
    if name in {"test", "["} and "-v" in words:
        return "test -v may run what its argument holds"
    if name == "cd" and not sure and any(word is None or word[:1] == "-" or "/.." in word for word in words[1:]):
        return "whether the folder is changed isn't known"
    return ""


def _past_blanks(text: str, place: int) -> int:
    while place < len(text) and text[place] in " \t\n":
        place += 1
    return place
