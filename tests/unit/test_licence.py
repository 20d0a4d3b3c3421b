"""Licences: what a package declares, held against what the organisation takes."""

import pytest

from quarantine.model import Licences, Outcome, OutcomeKind
from quarantine.policy.files import Action, LicenceRule
from quarantine.policy.licence import judge, licence, spdx_of

MIT = "License :: OSI Approved :: MIT License"
APACHE = "License :: OSI Approved :: Apache Software License"
BSD = "License :: OSI Approved :: BSD License"


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        (Licences(expression="mit OR apache-2.0"), ("MIT OR Apache-2.0", "License-Expression")),
        (Licences(expression="MIT", classifiers=(APACHE,)), ("MIT", "License-Expression")),
        (Licences(expression="mine"), (None, "'mine' is no SPDX expression")),
        (Licences(expression="mine", text="MIT"), (None, "'mine' is no SPDX expression")),
        (Licences(classifiers=(MIT,)), ("MIT", "classifiers")),
        (Licences(classifiers=("License :: OSI Approved", MIT)), ("MIT", "classifiers")),
        (Licences(classifiers=(MIT, APACHE)), ("Apache-2.0 AND MIT", "classifiers")),
        (Licences(text="BSD-3-Clause", classifiers=(BSD,)), ("BSD-3-Clause", "License")),
        (Licences(classifiers=(BSD,)), (None, "it declares 'BSD License', which doesn't say which licence that is")),
        (Licences(text="Copyright me"), (None, "'Copyright me' is no SPDX expression")),
        (Licences(), (None, "it declares no licence")),
    ],
)
def test_an_expression_counts_before_classifiers_and_those_before_words(
    declared: Licences, expected: tuple[str | None, str]
) -> None:
    """And what doesn't tell one licence apart is no licence that is known."""
    assert spdx_of(declared) == expected


@pytest.mark.parametrize(
    ("expression", "allowed", "expected"),
    [
        ("MIT", ["MIT"], OutcomeKind.PASS),
        ("MIT", ["mit"], OutcomeKind.PASS),
        ("MIT", ["Apache-2.0"], OutcomeKind.FAIL),
        ("MIT OR GPL-3.0-only", ["MIT"], OutcomeKind.PASS),
        ("GPL-3.0-only OR MIT", ["MIT"], OutcomeKind.PASS),
        ("MIT AND GPL-3.0-only", ["MIT"], OutcomeKind.FAIL),
        ("MIT AND ISC", ["MIT", "ISC"], OutcomeKind.PASS),
        ("MIT AND (ISC OR GPL-3.0-only)", ["MIT", "ISC"], OutcomeKind.PASS),
        ("MIT OR ISC AND GPL-3.0-only", ["ISC"], OutcomeKind.FAIL),
        ("(MIT OR ISC) AND GPL-3.0-only", ["MIT"], OutcomeKind.FAIL),
        ("GPL-2.0-only WITH Classpath-exception-2.0", ["GPL-2.0-only"], OutcomeKind.PASS),
        (
            "GPL-2.0-only WITH Classpath-exception-2.0",
            ["GPL-2.0-only WITH Classpath-exception-2.0"],
            OutcomeKind.PASS,
        ),
        ("GPL-2.0-only", ["GPL-2.0-only WITH Classpath-exception-2.0"], OutcomeKind.FAIL),
        ("GPL-2.0-or-later", ["GPL-2.0-only"], OutcomeKind.PASS),
        ("GPL-2.0-only", ["GPL-2.0-or-later"], OutcomeKind.FAIL),
        ("Apache-1.1+", ["Apache-1.1"], OutcomeKind.PASS),
        ("LicenseRef-Ours", ["LicenseRef-Ours"], OutcomeKind.PASS),
        ("LicenseRef-Ours", ["MIT"], OutcomeKind.FAIL),
        ("MIT", [], OutcomeKind.PASS),
        ("LicenseRef-Ours", [], OutcomeKind.FAIL),
        ("MIT OR LicenseRef-Ours", [], OutcomeKind.FAIL),
    ],
)
def test_or_needs_one_side_and_needs_both(expression: str, allowed: list[str], expected: OutcomeKind) -> None:
    """Exceptions and later versions only add permissions; a name of one's own is none of SPDX's."""
    assert judge(Licences(expression=expression), allowed, Action.DENY).kind is expected


@pytest.mark.parametrize(
    ("action", "expected", "advice"),
    [
        (Action.DENY, OutcomeKind.FAIL, "read its licence, and say in the approval what it is"),
        (Action.REVIEW, OutcomeKind.UNKNOWN, "read its licence, and say in the approval what it is"),
        (Action.TOLERATE, OutcomeKind.PASS, "tolerated"),
    ],
)
def test_what_an_unknown_licence_comes_to_is_the_policys(action: Action, expected: OutcomeKind, advice: str) -> None:
    """A denial, a review or a note."""
    assert judge(Licences(), (), action) == Outcome(
        rule="licence", kind=expected, message=f"no licence in SPDX form (it declares no licence): {advice}"
    )


def test_the_answer_names_the_file_and_the_evidence() -> None:
    """What was declared, where, and what is allowed."""
    rule = LicenceRule(allowed=("MIT", "ISC"))

    assert licence(Licences(text="GPL-3.0-only"), rule, "app-1.0.tar.gz") == Outcome(
        rule="licence",
        kind=OutcomeKind.FAIL,
        message="app-1.0.tar.gz: its licence is GPL-3.0-only, by its License: expected one of ISC, MIT",
        evidence=(("licence", "GPL-3.0-only"), ("source", "License")),
    )
