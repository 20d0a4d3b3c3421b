"""For which project and stage a job runs is what its CI system proves, not what its files or flags say."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from house import NOW, House
from issuer import IssuerServer, times


@dataclass(kw_only=True)
class Job:
    """A job of a CI system, which gives it tokens."""

    home: House
    issuer: IssuerServer

    def be(self, repository: str, **claims: str) -> None:
        """The job of a repository."""
        said = {"iss": self.issuer.issuer, "aud": "quarantine", "sub": f"repo:{repository}", **times(NOW)}
        self.home.variables["TOKEN"] = self.issuer.sign({**said, "repository": repository, **claims})

    def project(self, *argv: str) -> tuple[str, str]:
        """The project and the stage of the verdict on a file."""
        ran = self.home.check("requirements.txt", *argv)
        return ran.json["project"], ran.json["stage"]


@pytest.fixture
def job(home: House) -> Iterator[Job]:
    """A project whose policy says which repository is which project."""
    with IssuerServer() as issuer:
        home.settings = [
            f"identity: {{kind: oidc, issuer: '{issuer.issuer}', audience: quarantine, token: 'env:TOKEN'}}"
        ]
        home.identities = [{"issuer": issuer.issuer, "audience": "quarantine"}]
        home.projects = [{"name": "demo", "repository": "contoso/ml"}, {"name": "other", "repository": "contoso/web"}]
        home.index.add("plain", "1.0")
        home.advise()
        home.write("requirements.txt", "plain==1.0\n")
        yield Job(home=home, issuer=issuer)


def test_the_project_is_that_of_the_repository(job: Job) -> None:
    """Whatever the files of the repository call it, in any spelling that the CI system has of its name."""
    job.be("Contoso/Web")
    assert job.project() == ("other", "development")


def test_a_repository_cannot_call_itself_a_project_of_others(job: Job) -> None:
    """One that the policy doesn't list, with the name of a project that it does list: bad input, and nothing judged."""
    job.be("contoso/evil")

    ran = job.home.check("requirements.txt")

    assert (ran.status, ran.out) == (2, "")
    assert ran.err == (
        "error: project demo is contoso/ml by the policy, and this runs in 'contoso/evil': give `project:` another name, "
        "or have the curators list the repository under `projects`\n"
    )


def test_the_stage_is_the_environment_of_the_job(job: Job) -> None:
    """A flag can't make production development; where the job has no environment, or one of another name, it chooses."""
    job.be("contoso/ml", environment="production")
    assert job.project("--stage", "development") == ("demo", "production")
    job.be("contoso/ml", environment="staging")
    assert job.project("--stage", "production") == ("demo", "production")


def test_in_ci_the_files_alone_prove_nothing(job: Job) -> None:
    """A pull request that takes the identity out of the configuration is bad input; outside of CI its word will do."""
    job.home.settings = []
    job.home.settle()
    assert job.project() == ("demo", "development")
    job.home.variables["GITHUB_ACTIONS"] = "true"

    ran = job.home.check("requirements.txt")

    assert (ran.status, ran.out) == (2, "")
    assert ran.err == (
        "error: the policy lists which repository is which project, and nothing proves here which one this is: set "
        "`identity: {kind: oidc, ...}` in quarantine.yaml, so that the CI system's token says it\n"
    )


def test_a_token_that_cannot_be_had_proves_nothing(job: Job) -> None:
    """In CI without one: undecided. On a laptop without one: what the configuration says."""
    job.home.variables.pop("TOKEN", None)
    assert job.project() == ("demo", "development")
    job.home.variables["GITHUB_ACTIONS"] = "true"
    assert job.home.check("requirements.txt").status == 3


def test_who_checks_stands_in_the_log(job: Job) -> None:
    """As the token says where there is one, else as the system's user, unverified."""
    job.be("contoso/ml", actor="ann")
    job.home.check("requirements.txt")
    verified = job.home.run("audit", "export").out.splitlines()[-1]

    assert f'"issuer":"{job.issuer.issuer}"' in verified
    assert '"verified":true' in verified
