"""Whether a package's licence is one of those that the organisation takes: what it declares -> an outcome.

An SPDX expression counts before classifiers, and those before free words, which count only where they are an expression
themselves. Nothing is guessed: a licence that isn't told apart ("BSD License") is unknown. Of an expression with OR one
side must be allowed, of one with AND both; an exception (WITH) only ever adds permissions, and so does "or later".

Source: SPDX 2.3, annex D; the core metadata specification.
"""

from collections.abc import Collection, Iterator
from typing import assert_never

import msgspec

from quarantine.model import Licences, Outcome, OutcomeKind
from quarantine.policy.files import Action, LicenceRule

__all__ = ["LICENCE", "judge", "licence", "spdx_of"]

LICENCE = "licence"
MAX_EXPRESSION = 1000
_REFERENCE = "LicenseRef-"

# those classifiers that stand for one licence alone
_CLASSIFIERS: dict[str, str] = {
    "Apache Software License": "Apache-2.0",
    "Blue Oak Model License (BlueOak-1.0.0)": "BlueOak-1.0.0",
    "Boost Software License 1.0 (BSL-1.0)": "BSL-1.0",
    "CMU License (MIT-CMU)": "MIT-CMU",
    "Eclipse Public License 1.0 (EPL-1.0)": "EPL-1.0",
    "Eclipse Public License 2.0 (EPL-2.0)": "EPL-2.0",
    "European Union Public Licence 1.1 (EUPL 1.1)": "EUPL-1.1",
    "European Union Public Licence 1.2 (EUPL 1.2)": "EUPL-1.2",
    "GNU Affero General Public License v3": "AGPL-3.0-only",
    "GNU Affero General Public License v3 or later (AGPLv3+)": "AGPL-3.0-or-later",
    "GNU General Public License v2 (GPLv2)": "GPL-2.0-only",
    "GNU General Public License v2 or later (GPLv2+)": "GPL-2.0-or-later",
    "GNU General Public License v3 (GPLv3)": "GPL-3.0-only",
    "GNU General Public License v3 or later (GPLv3+)": "GPL-3.0-or-later",
    "GNU Lesser General Public License v2 (LGPLv2)": "LGPL-2.0-only",
    "GNU Lesser General Public License v2 or later (LGPLv2+)": "LGPL-2.0-or-later",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
    "GNU Lesser General Public License v3 or later (LGPLv3+)": "LGPL-3.0-or-later",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "MIT No Attribution License (MIT-0)": "MIT-0",
    "Mozilla Public License 1.1 (MPL 1.1)": "MPL-1.1",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "PostgreSQL License": "PostgreSQL",
    "The Unlicense (Unlicense)": "Unlicense",
    "Universal Permissive License (UPL)": "UPL-1.0",
    "Zero-Clause BSD (0BSD)": "0BSD",
}


def licence(declared: Licences, rule: LicenceRule, filename: str) -> Outcome:
    """Whether what a file declares is allowed by a stage's rule."""
    found = judge(declared, rule.allowed, rule.unknown)
    return msgspec.structs.replace(found, message=f"{filename}: {found.message}")


def judge(declared: Licences, allowed: Collection[str], unknown: Action) -> Outcome:
    """Whether what a package declares is allowed. Without `allowed` every licence of SPDX is.

    `unknown` is what follows when it declares none that can be told.
    """
    spdx, source = spdx_of(declared)
    if spdx is None:
        return _unknown(source, unknown)
    if len(allowed) == 0 and _REFERENCE not in spdx:
        return _answer(OutcomeKind.PASS, f"its licence is {spdx}, by its {source}", spdx, source)
    if _Expression(spdx, allowed).holds():
        return _answer(OutcomeKind.PASS, f"its licence {spdx}, by its {source}, is allowed", spdx, source)
    if len(allowed) == 0:
        return _unknown(f"its licence is {spdx}, which is none of SPDX's", unknown)
    said = f"its licence is {spdx}, by its {source}: expected one of {', '.join(sorted(allowed))}"
    return _answer(OutcomeKind.FAIL, said, spdx, source)


def spdx_of(declared: Licences) -> tuple[str | None, str]:
    """The SPDX expression that a package declares, and where; or None, and why there is none."""
    expression, text, classifiers = declared.expression, declared.text, declared.classifiers
    if expression is not None:
        found = _canonical(expression)
        return (found, "License-Expression") if found else (None, f"{expression[:80]!a} is no SPDX expression")
    named = [line.rpartition(" :: ")[2] for line in classifiers if line.startswith("License ::")]
    known = [_CLASSIFIERS.get(name) for name in named if name != "OSI Approved"]
    if known and None not in known:
        # whether one may choose between several is not said
        return _canonical(" AND ".join(sorted({licence for licence in known if licence is not None}))), "classifiers"
    if text is not None and (found := _canonical(text)):
        return found, "License"
    if named:
        return None, f"it declares {', '.join(named)[:100]!a}, which doesn't say which licence that is"
    return None, f"{text[:80]!a} is no SPDX expression" if text else "it declares no licence"


def _canonical(text: str) -> str | None:
    """An SPDX expression in its one spelling, None when it isn't one."""
    from packaging.licenses import (  # noqa: PLC0415  # the list of licences is long, and few checks need it
        InvalidLicenseExpression,
        canonicalize_license_expression,
    )

    if not text or len(text) > MAX_EXPRESSION:
        return None
    try:
        return canonicalize_license_expression(text)
    except InvalidLicenseExpression:
        return None


class _Expression:
    """A canonical SPDX expression, read from left to right: OR binds least, then AND, then WITH."""

    def __init__(self, expression: str, allowed: Collection[str]) -> None:
        self._tokens: Iterator[str] = iter(expression.replace("(", " ( ").replace(")", " ) ").split())
        self._next = next(self._tokens, "")
        self._allowed = {(_canonical(licence) or licence) for licence in allowed}

    def holds(self) -> bool:
        """Whether the licences that are allowed satisfy it."""
        good = self._all()
        while self._next == "OR":
            self._take()
            good = self._all() or good
        return good

    def _all(self) -> bool:
        good = self._one()
        while self._next == "AND":
            self._take()
            good = self._one() and good
        return good

    def _one(self) -> bool:
        token = self._take()
        if token == "(":  # noqa: S105  # a parenthesis is no password
            good = self.holds()
            self._take()
            return good
        accepted = {token, token.removesuffix("+"), token.removesuffix("-or-later") + "-only"}
        if self._next == "WITH":
            self._take()
            accepted.add(f"{token} WITH {self._take()}")
        return not accepted.isdisjoint(self._allowed)

    def _take(self) -> str:
        token, self._next = self._next, next(self._tokens, "")
        return token


def _unknown(why: str, action: Action) -> Outcome:
    match action:
        case Action.DENY:
            kind = OutcomeKind.FAIL
        case Action.REVIEW:
            kind = OutcomeKind.UNKNOWN
        case Action.TOLERATE:
            kind = OutcomeKind.PASS
        case _:
            assert_never(action)
    said = "tolerated" if action is Action.TOLERATE else "read its licence, and say in the approval what it is"
    return Outcome(rule=LICENCE, kind=kind, message=f"no licence in SPDX form ({why}): {said}")


def _answer(kind: OutcomeKind, message: str, spdx: str, source: str) -> Outcome:
    return Outcome(rule=LICENCE, kind=kind, message=message, evidence=(("licence", spdx), ("source", source)))
