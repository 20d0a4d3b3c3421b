"""An `Identities` that is told who is asking."""

from quarantine.errors import UpstreamError
from quarantine.exceptions import Identity
from quarantine.ports import Tell

ALICE = Identity(
    kind="entra", id="oid-alice", name="alice@example.org", issuer="https://login.example/t", verified=True
)
BOB = Identity(kind="entra", id="oid-bob", name="bob@example.org", issuer="https://login.example/t", verified=True)
CAROL = Identity(
    kind="entra", id="oid-carol", name="carol@example.org", issuer="https://login.example/t", verified=True
)


class FakeIdentities:
    """Says that it is `person`; None stands for somebody who can't prove it."""

    def __init__(self, person: Identity | None = ALICE) -> None:
        self.person = person

    def who(self, tell: Tell) -> Identity:
        """Who was set last. UpstreamError for nobody."""
        if self.person is None:
            raise UpstreamError("the identity token is refused: its signature is not its issuer's")
        tell("asking who this is")
        return self.person
